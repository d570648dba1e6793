/** Random order, samples and directions: what null distributions are drawn from. */
import type { Random } from "./random.ts";

/** Shuffles a list in place (Fisher & Yates). */
export function shuffle<T extends { length: number; [i: number]: unknown }>(list: T, random: Random): T {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

/** `count` distinct integers below n in ascending order, or all of them if n is smaller. */
export function sample(n: number, count: number, random: Random): number[] {
  const all = Array.from({ length: n }, (_, i) => i);
  if (count >= n) return all;
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(random.uniform() * (n - i));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all.slice(0, count).sort((a, b) => a - b);
}

/**
 * A null distribution by permuting labels, words or answers.
 *
 * @param statistic computed from the permuted labels
 */
export function permuted(
  labels: readonly number[],
  draws: number,
  random: Random,
  statistic: (labels: readonly number[]) => number,
): Float64Array {
  const shuffled = [...labels];
  return Float64Array.from({ length: draws }, () => statistic(shuffle(shuffled, random)));
}

/** Shuffles within consecutive runs of `run` items: in a list sorted by frequency, items exchange places only with items of similar frequency. */
export function shuffleWithin<T>(list: readonly T[], run: number, random: Random): T[] {
  const out: T[] = [];
  for (let at = 0; at < list.length; at += run) out.push(...shuffle(list.slice(at, at + run), random));
  return out;
}

/** A unit vector (n), uniformly distributed over directions. */
export function randomDirection(n: number, random: Random): Float32Array {
  const values = Float64Array.from({ length: n }, () => random.normal());
  const length = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return Float32Array.from(values, (x) => x / length);
}
