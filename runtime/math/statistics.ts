/** Summaries, p-values and confidence intervals. */
import type { Random } from "./random.ts";

/** A confidence interval. */
export type Interval = readonly [low: number, high: number];

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

/** Sample standard deviation (n − 1 in the denominator); 0 for a single value. */
export function deviation(values: ArrayLike<number>): number {
  if (values.length < 2) return 0;
  const middle = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - middle) ** 2;
  return Math.sqrt(sum / (values.length - 1));
}

/** The quantile at a fraction from 0 to 1, linearly interpolated between the two nearest values. */
export function quantile(values: ArrayLike<number>, fraction: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = fraction * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
}

/** The middle 95% of the values. */
export const middle95 = (values: ArrayLike<number>): Interval => [
  quantile(values, 0.025),
  quantile(values, 0.975),
];
/**
 * p = (1 + number of null draws at least as extreme)/(draws + 1) (Phipson & Smyth 2010): it is never zero, and under the
 * null hypothesis it is close to uniform.
 */
export function pValue(observed: number, draws: ArrayLike<number>, side: "greater" | "less"): number {
  // Draws that differ from the observation only by rounding count as equally extreme.
  const tolerance = 1e-9 * Math.abs(observed);
  const sign = side === "greater" ? 1 : -1;
  let extreme = 0;
  for (let i = 0; i < draws.length; i++) if (sign * (draws[i] - observed) >= -tolerance) extreme++;
  return (1 + extreme) / (draws.length + 1);
}

/**
 * Holm's step-down correction (1979) over a family of `family` tests. Tests whose p-values are not given count as p = 1.
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

/** The 97.5% quantile of the standard normal distribution. */
const Z = 1.959963984540054;
/** 95% interval of a rate for many trials (Wilson 1927). */
export function wilson(successes: number, trials: number): Interval {
  if (trials === 0) return [0, 1];
  const rate = successes / trials;
  const weight = 1 + Z ** 2 / trials;
  const centre = (rate + Z ** 2 / (2 * trials)) / weight;
  const half = (Z / weight) * Math.sqrt((rate * (1 - rate)) / trials + (Z / (2 * trials)) ** 2);
  return [successes === 0 ? 0 : centre - half, successes === trials ? 1 : centre + half];
}

/**
 * Exact 95% interval of a rate for few trials (Clopper & Pearson 1934). Each end is the rate at which the observation, or
 * one further in its direction, has a probability of 2.5%.
 *
 * @example
 * clopperPearson(3, 3); // [0.292, 1]: three of three is weak evidence
 */
export function clopperPearson(successes: number, trials: number): Interval {
  const lower = successes === 0 ? 0 : bisect((rate) => atLeast(successes, trials, rate) - 0.025);
  const upper = successes === trials ? 1 : bisect((rate) => atLeast(successes + 1, trials, rate) - 0.975);
  return [lower, upper];
}

/** The zero of an increasing function on [0, 1]. */
function bisect(f: (x: number) => number): number {
  let [low, high] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const x = (low + high) / 2;
    if (f(x) < 0) low = x;
    else high = x;
  }
  return (low + high) / 2;
}

/** P(X ≥ k) for a binomial X. */
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
 * Percentile bootstrap (Efron 1979): the middle 95% of a statistic over samples of the items with replacement.
 *
 * @param random a stream of its own, so that the result does not depend on which intervals were computed before
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
