/** Claims: what an experiment may find, declared before it runs, and the test of an observation against its null. */
import { deviation, type Interval, mean, pValue } from "../../math/statistics.ts";

/**
 * The kind of a claim: the quantities it depends on, which determine its null. (R·A)(A⁻¹·B) is the same model for every invertible A, so a claim is
 *
 * - `free` if it is about E = R·B or the function alone;
 * - `metric` if it is about cosines between rows of R, which are invariant under rotation;
 * - `bound` if it is about coordinates, and is then tested against R·Q, Qᵀ·B with random orthogonal Q.
 */
export type ClaimKind = "free" | "metric" | "bound";

export interface ClaimSpec {
  readonly kind: ClaimKind;
  /** The claim as a sentence that is true if the claim holds. */
  readonly statement: string;
  /** The side of its null on which the effect lies if the claim holds. */
  readonly side: "greater" | "less";
}

/** Claims by id, `<experiment>.<name>`. */
export type ClaimSpecs = Readonly<Record<string, ClaimSpec>>;

/** A null distribution, draw by draw. */
export interface Null {
  /** The name that readers see: "random rotations of the signals". */
  readonly name: string;
  readonly values: ArrayLike<number>;
}

/** A claim's effect and p-value, before correction for multiple testing. */
export interface ClaimResult {
  readonly id: string;
  readonly effect: number;
  /** 95% confidence interval, if one is meaningful. */
  readonly interval?: Interval;
  readonly null: {
    readonly name: string;
    readonly mean: number;
    readonly sd: number;
    readonly draws: number;
  };
  readonly p: number;
  readonly kind: ClaimKind;
  readonly statement: string;
}

/**
 * Tests an effect against its null. The side is the one declared in the claim's specification.
 *
 * @param claims the experiment's own claims
 * @param interval of the effect, 95%
 * @throws RangeError if the effect or a draw is not finite: it would pass for evidence
 */
export function claim<Specs extends ClaimSpecs>(
  claims: Specs,
  id: keyof Specs & string,
  effect: number,
  { name, values }: Null,
  interval?: Interval,
): ClaimResult {
  const { kind, statement, side } = claims[id];
  const bad = [effect, ...Array.from(values)].find((x) => !Number.isFinite(x));
  if (bad !== undefined) {
    throw new RangeError(`claim ${id}: the effect or a null draw is ${bad}: expected finite numbers`);
  }
  return {
    id,
    effect,
    interval,
    null: { name, mean: mean(values), sd: deviation(values), draws: values.length },
    p: pValue(effect, values, side),
    kind,
    statement,
  };
}
