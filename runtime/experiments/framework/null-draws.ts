/** What nulls are drawn from. */

import type { Matrix } from "../../math/matrix.ts";
import { keepLargest, matrix, multiply } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import type { Model } from "../../model/model.ts";
import { orthonormalColumns } from "../../transformer/parameters.ts";
import type { ExperimentContext } from "./experiment.ts";

/** Q (n,n), distributed evenly over all orthogonal matrices. */
export const randomOrthogonal = (n: number, random: Random): Matrix =>
  matrix(n, n, Float32Array.from(orthonormalColumns(n, n, random)));

/**
 * x·Q (n,S) for random orthogonal Q, so many times. Making a Q takes longer than multiplying by it, so that a few are made,
 * and each draw is the product of two of them, no two draws of the same two. Each product is distributed as a Q of its own
 * would be, and any two of them are independent, since they have a factor at most in common.
 */
export async function* rotations(
  { model: { model }, progress }: ExperimentContext,
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
export const coordinateNull = ({ model }: ExperimentContext): string =>
  model.model.config.top_k ? "models at initialisation" : "random rotations of the signals";

/**
 * The null of `bound` claims: these recipes (n,S) after random rotations, which leave the model's function as it is. A
 * `reflow-topk` no rotation leaves alone: there they are recipes of as many tokens at initialisation.
 */
export async function* coordinateDraws(
  context: ExperimentContext,
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
