/** Random draws for the nulls of `metric` and `bound` claims. */

import type { Matrix } from "../../math/matrix.ts";
import { keepLargest, matrix, multiply } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import type { Model } from "../../model/model.ts";
import { orthonormalColumns } from "../../transformer/parameters.ts";
import type { ExperimentContext } from "./experiment.ts";

/** Q (n,n), uniformly distributed over the orthogonal matrices. */
export const randomOrthogonal = (n: number, random: Random): Matrix =>
  matrix(n, n, Float32Array.from(orthonormalColumns(n, n, random)));

/**
 * Draws x·Q (n,S) with random orthogonal Q. Generating Q takes longer than multiplying by it, so a few are generated and each
 * draw uses the product of a different pair. Every product is distributed like a newly generated Q, and any two are
 * independent, since they share at most one factor.
 */
export async function* rotations(
  { model: { model }, progress }: ExperimentContext,
  x: Matrix,
  draws: number,
  random: Random,
): AsyncGenerator<Matrix> {
  const generated: Matrix[] = [];
  while ((generated.length * (generated.length - 1)) / 2 < draws) {
    generated.push(randomOrthogonal(x.columns, random));
    await progress();
  }
  for (let [first, draw] = [0, 0]; draw < draws; first++) {
    const rotated = await multiply(model, x, generated[first]);
    for (const second of generated.slice(first + 1, first + 1 + draws - draw)) {
      yield await multiply(model, rotated, second);
      draw++;
      await progress();
    }
  }
}

/** The name of the draws of {@link coordinateDraws} in reports. */
export const coordinateNull = ({ model }: ExperimentContext): string =>
  model.model.config.top_k ? "models at initialisation" : "random rotations of the signals";

/**
 * The null of `bound` claims: recipes (n,S) after random rotations, which preserve the function of the model. A `reflow-topk`
 * is not invariant under rotation: its null draws are recipes of n tokens at initialisation.
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
 * A random A (S,d) with the singular values of B and random singular vectors. For cosines in recipe space, R·A stands for the
 * recipes of an equivalent model, with which `metric` claims are compared.
 *
 * @param singular the min(S,d) singular values of B
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
