/** What nulls are drawn from. */

import { keepLargest, matrix, multiply } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import type { Model } from "../../model/model.ts";
import { orthonormalColumns } from "../../transformer/parameters.ts";
import type { Matrix, ProbeContext } from "./experiment.ts";

/** Puts a list into a random order, in place (Fisher & Yates). */
export function shuffle<T extends { length: number; [i: number]: unknown }>(list: T, random: Random): T {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

/** So many different numbers below n, in order: all of them where there are fewer. */
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
 * A null of permuted labels, words or answers.
 *
 * @param figure of the labels in a new order
 */
export function permuted(
  labels: readonly number[],
  draws: number,
  random: Random,
  figure: (labels: readonly number[]) => number,
): Float64Array {
  const shuffled = [...labels];
  return Float64Array.from({ length: draws }, () => figure(shuffle(shuffled, random)));
}

/** Puts a list into a random order within runs of so many. In a list by frequency, what changes places is about as frequent. */
export function shuffleWithin<T>(list: readonly T[], run: number, random: Random): T[] {
  const out: T[] = [];
  for (let at = 0; at < list.length; at += run) out.push(...shuffle(list.slice(at, at + run), random));
  return out;
}

/** (n), of length 1, in any direction alike. */
export function randomDirection(n: number, random: Random): Float32Array {
  const values = Float64Array.from({ length: n }, () => random.normal());
  const length = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return Float32Array.from(values, (x) => x / length);
}

/** Q (n,n), distributed evenly over all orthogonal matrices. */
export const randomOrthogonal = (n: number, random: Random): Matrix =>
  matrix(n, n, Float32Array.from(orthonormalColumns(n, n, random)));

/**
 * x·Q (n,S) for random orthogonal Q, so many times. Making a Q takes longer than multiplying by it, so that a few are made,
 * and each draw is the product of two of them, no two draws of the same two. Each product is distributed as a Q of its own
 * would be, and any two of them are independent, since they have a factor at most in common.
 */
export async function* rotations(
  { model: { model }, progress }: ProbeContext,
  x: Matrix,
  draws: number,
  random: Random,
): AsyncGenerator<Matrix> {
  const made: Matrix[] = [];
  while ((made.length * (made.length - 1)) / 2 < draws) {
    made.push(randomOrthogonal(x.columns, random));
    await progress();
  }
  for (let [first, draw] = [0, 0]; draw < draws; first++) {
    const turned = await multiply(model, x, made[first]);
    for (const second of made.slice(first + 1, first + 1 + draws - draw)) {
      yield await multiply(model, turned, second);
      draw++;
      await progress();
    }
  }
}

/** What {@link coordinateDraws} draws, for readers. */
export const coordinateNull = ({ model }: ProbeContext): string =>
  model.model.config.top_k ? "models at initialisation" : "random rotations of the signals";

/**
 * The null of `bound` claims: these recipes (n,S) after random rotations, which leave the model's function as it is. A
 * `reflow-topk` no rotation leaves alone: there they are recipes of as many tokens at initialisation.
 */
export async function* coordinateDraws(
  context: ProbeContext,
  recipes: Matrix,
  draws: number,
  random: Random,
): AsyncGenerator<Matrix> {
  const k = context.model.model.config.top_k;
  if (k === undefined) {
    yield* rotations(context, recipes, draws, random);
    return;
  }
  for (let draw = 0; draw < draws; draw++) {
    const fresh = matrix(recipes.rows, recipes.columns);
    for (let i = 0; i < fresh.data.length; i++) fresh.data[i] = Math.max(0, random.normal());
    yield keepLargest(fresh, k);
    await context.progress();
  }
}

/**
 * A (S,d) with B's own singular values and random singular vectors. R·A is another model's recipes, as far as cosines in
 * recipe space go: what `metric` claims say must be held against it.
 *
 * @param singular B's, of which there are min(S,d)
 */
export function randomMixture(
  model: Model,
  { rows: S, columns: d }: Matrix,
  singular: ArrayLike<number>,
  random: Random,
): Promise<Matrix> {
  const r = Math.min(S, d);
  const left = orthonormalColumns(S, r, random).map((x, at) => x * singular[at % r]);
  const right = orthonormalColumns(d, r, random);
  return multiply(model, matrix(S, r, Float32Array.from(left)), matrix(d, r, Float32Array.from(right)), {
    transB: true,
  });
}
