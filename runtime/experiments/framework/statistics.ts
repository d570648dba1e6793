/** What chance gives, and what may be said beside it. */
import { deviation, type Interval, mean, pValue } from "../../math/statistics.ts";
import { CLAIMS, type ClaimId } from "./claims.ts";
import type { ClaimResult } from "./experiment.ts";

// ---- claims -----------------------------------------------------------------------------------------------

/** What chance gave, draw by draw. */
export interface Null {
  /** What was drawn, as a reader is told: "random rotations of the signals". */
  readonly name: string;
  readonly values: ArrayLike<number>;
}

/**
 * What a claim comes to, before the family is corrected for. Its side is the one fixed in {@link CLAIMS}.
 *
 * @param interval of the effect, 95%
 * @throws RangeError for an effect or a draw that isn't finite: it would pass for evidence
 */
export function claim(id: ClaimId, effect: number, { name, values }: Null, interval?: Interval): ClaimResult {
  const bad = [effect, ...Array.from(values)].find((x) => !Number.isFinite(x));
  if (bad !== undefined) throw new RangeError(`claim ${id}: a figure is ${bad}`);
  return {
    id,
    effect,
    interval,
    null: { name, mean: mean(values), sd: deviation(values), draws: values.length },
    p: pValue(effect, values, CLAIMS[id].side),
  };
}
