/** The tables in which a figure of a `metric` claim is worked out, side by side. */

import { gram, singularValues } from "../../math/eigen.ts";
import type { Matrix } from "../../math/matrix.ts";
import { multiply, pick } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import type { ProbeContext } from "./experiment.ts";
import { randomMixture } from "./null-draws.ts";

/** One of these tables, or several drawn at random. */
export interface Arm {
  readonly name: string;
  readonly tables: readonly (() => Promise<Matrix>)[];
}

/** What an arm's figure came to; its range where there are several tables; and what chance gives in it, on the average. */
export interface ArmFigure {
  readonly name: string;
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
  readonly null: number;
}

export const RECIPES = "recipes";

/**
 * Recipes; the same in the embedding metric; R·A with random A of B's own singular values; recipes at initialisation; and the
 * twin's embedding, where there are such. Of an unfactored model the recipes are its embedding.
 *
 * @param ids of the tokens that are looked at; all where they aren't said
 * @param mixtures how many A are drawn
 */
export function metricArms(
  { model, twin }: ProbeContext,
  random: Random,
  { ids, mixtures }: { ids?: ArrayLike<number>; mixtures: number },
): Arm[] {
  const rowsOf = (table: Matrix) => (ids ? pick(table, ids) : table);
  const arm = (name: string, table: Matrix): Arm => ({ name, tables: [async () => rowsOf(table)] });
  const arms = [arm(model.basis ? RECIPES : "embedding", model.recipe)];
  const { basis } = model;
  if (basis) {
    arms.push(arm("embedding", model.embedding));
    let singular: Float64Array | undefined;
    const mixed = async () => {
      if (!singular) {
        const { values, n } = gram(basis);
        singular = singularValues(values, n);
      }
      const mixture = await randomMixture(model.model, basis, singular, random);
      return multiply(model.model, rowsOf(model.recipe), mixture);
    };
    arms.push({ name: "recipes, mixed at random", tables: Array(mixtures).fill(mixed) });
  }
  if (model.initial) arms.push(arm("at initialisation", model.initial.recipe));
  if (twin) arms.push(arm("twin's embedding", twin.embedding));
  return arms;
}

/** A figure in each arm, and what chance gives: where an arm has several tables, their mean, and from the least to the largest. */
export async function overArms(
  arms: readonly Arm[],
  figure: (table: Matrix) => Promise<readonly [value: number, chance: number]>,
): Promise<ArmFigure[]> {
  const figures: ArmFigure[] = [];
  for (const { name, tables } of arms) {
    const found: (readonly [number, number])[] = [];
    for (const table of tables) found.push(await figure(await table()));
    const values = found.map(([value]) => value);
    const range = values.length > 1 && { low: Math.min(...values), high: Math.max(...values) };
    figures.push({ name, value: mean(values), ...range, null: mean(found.map(([, chance]) => chance)) });
  }
  return figures;
}

/** Draws that give an arm's null its mean. */
export const ARM_DRAWS = 99;
