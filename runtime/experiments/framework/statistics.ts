/** What chance gives, and what may be said beside it. */
import type { Random } from "../../math/random.ts";
import { CLAIMS, type ClaimId } from "./claims.ts";
import type { ClaimResult } from "./experiment.ts";

export type Interval = readonly [low: number, high: number];

// ---- summaries --------------------------------------------------------------------------------------------

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

/** Standard deviation, over n − 1; 0 of a single value. */
export function deviation(values: ArrayLike<number>): number {
  if (values.length < 2) return 0;
  const middle = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - middle) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

/** The value below which a share of the values lies, between the two nearest by straight line. */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}

/** The middle 95% of the values. */
export const middle95 = (values: ArrayLike<number>): Interval => [
  quantile(values, 0.025),
  quantile(values, 0.975),
];

// ---- claims -----------------------------------------------------------------------------------------------

/** What chance gave, draw by draw. */
export interface Null {
  /** What was drawn, as a reader is told: "random rotations of the signals". */
  readonly name: string;
  readonly values: ArrayLike<number>;
}

/**
 * p = (1 + number of draws at least as extreme)/(draws + 1) (Phipson & Smyth 2010): no p is zero, and of a model to which
 * the null applies it is as good as uniform.
 */
export function pValue(observed: number, draws: ArrayLike<number>, side: "greater" | "less"): number {
  // Draws that differ from what was seen only by how sums were rounded are as extreme.
  const tolerance = 1e-9 * Math.abs(observed);
  const sign = side === "greater" ? 1 : -1;
  let extreme = 0;
  for (let i = 0; i < draws.length; i++) if (sign * (draws[i] - observed) >= -tolerance) extreme++;
  return (1 + extreme) / (draws.length + 1);
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

/**
 * Holm's step-down correction (1979) over a family, of which only these p-values are known: the others count as 1.
 *
 * @returns corrected p-values, in the order given
 */
export function holm(ps: readonly number[], family: number): number[] {
  const order = ps.map((_, i) => i).sort((a, b) => ps[a] - ps[b]);
  const corrected: number[] = [];
  let least = 0;
  for (const [rank, i] of order.entries()) {
    least = Math.max(least, Math.min(1, (family - rank) * ps[i]));
    corrected[i] = least;
  }
  return corrected;
}

// ---- intervals, 95% ---------------------------------------------------------------------------------------

/** The normal distribution's 97.5% point. */
const Z = 1.959963984540054;

/** Of a rate (Wilson 1927): for many trials. */
export function wilson(successes: number, trials: number): Interval {
  if (trials === 0) return [0, 1];
  const rate = successes / trials;
  const weight = 1 + Z ** 2 / trials;
  const centre = (rate + Z ** 2 / (2 * trials)) / weight;
  const half = (Z / weight) * Math.sqrt((rate * (1 - rate)) / trials + (Z / (2 * trials)) ** 2);
  return [successes === 0 ? 0 : centre - half, successes === trials ? 1 : centre + half];
}

/**
 * Of a rate (Clopper & Pearson 1934), exact: for few trials. Each end is the rate at which what was seen, or more in its
 * direction, has a probability of 2.5%.
 *
 * @example
 * clopperPearson(3, 3); // [0.292, 1]: three of three says little
 */
export function clopperPearson(successes: number, trials: number): Interval {
  const lower = successes === 0 ? 0 : bisect((rate) => atLeast(successes, trials, rate) - 0.025);
  const upper = successes === trials ? 1 : bisect((rate) => atLeast(successes + 1, trials, rate) - 0.975);
  return [lower, upper];
}

/** Where an increasing function on [0, 1] crosses zero. */
function bisect(f: (x: number) => number): number {
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const x = (low + high) / 2;
    if (f(x) < 0) low = x;
    else high = x;
  }
  return (low + high) / 2;
}

/** P(X ≥ k) for X binomial. */
function atLeast(k: number, n: number, rate: number): number {
  let logTerm = k * Math.log(rate) + (n - k) * Math.log1p(-rate);
  for (let i = 0; i < k; i++) logTerm += Math.log((n - i) / (i + 1));
  let sum = 0;
  for (let i = k; i <= n; i++) {
    sum += Math.exp(logTerm);
    logTerm += Math.log((n - i) / (i + 1)) + Math.log(rate) - Math.log1p(-rate);
  }
  return sum;
}

/**
 * The middle 95% of a statistic over samples drawn from the items with replacement (Efron 1979, percentiles).
 *
 * @param random a stream of its own: two intervals from one aren't independent of their order
 */
export function bootstrap<T>(
  items: readonly T[],
  statistic: (sample: readonly T[]) => number,
  random: Random,
  draws = 999,
): Interval {
  const values = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw++) {
    values[draw] = statistic(items.map(() => items[Math.floor(random.uniform() * items.length)]));
  }
  return middle95(values);
}
