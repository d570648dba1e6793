/** The tables in which the statistic of a `metric` claim is computed side by side. */

import { gram, singularValues } from "../../math/eigen.ts";
import type { Matrix } from "../../math/matrix.ts";
import { multiply, pick } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import type { ExperimentContext } from "./experiment.ts";
import { randomMixture } from "./null-draws.ts";

/** A named table, or several random draws of one. */
export interface ComparedTable {
  readonly name: string;
  readonly tables: readonly (() => Promise<Matrix>)[];
}

/** A statistic of a compared table: its mean and range over draws, and the mean of its null. */
export interface TableFigure {
  readonly name: string;
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
  readonly null: number;
}

export const RECIPES = "recipes";

/**
 * The recipes; the embedding; R·A with random A that have the singular values of B; the recipes at initialisation; and the
 * twin's embedding, as far as they exist. For an unfactored model the embedding stands in for the recipes.
 *
 * @param ids rows to compare. Default: all
 * @param mixtures number of draws of A
 */
export function comparedTables(
  { model, twin }: ExperimentContext,
  random: Random,
  { ids, mixtures }: { ids?: ArrayLike<number>; mixtures: number },
): ComparedTable[] {
  const rowsOf = (table: Matrix) => (ids ? pick(table, ids) : table);
  const single = (name: string, table: Matrix): ComparedTable => ({
    name,
    tables: [async () => rowsOf(table)],
  });
  const compared = [single(model.basis ? RECIPES : "embedding", model.recipe)];
  const { basis } = model;
  if (basis) {
    compared.push(single("embedding", model.embedding));
    let singular: Float64Array | undefined;
    const mixed = async () => {
      if (!singular) {
        const { values, n } = gram(basis);
        singular = singularValues(values, n);
      }
      const mixture = await randomMixture(model.model, basis, singular, random);
      return multiply(model.model, rowsOf(model.recipe), mixture);
    };
    compared.push({ name: "recipes, mixed at random", tables: Array(mixtures).fill(mixed) });
  }
  if (model.initial) compared.push(single("at initialisation", model.initial.recipe));
  if (twin) compared.push(single("twin's embedding", twin.embedding));
  return compared;
}

/** Computes a statistic and its null's mean in each table; for several draws of a table, their mean and range. */
export async function measureTables(
  compared: readonly ComparedTable[],
  statistic: (table: Matrix) => Promise<readonly [value: number, nullMean: number]>,
): Promise<TableFigure[]> {
  const figures: TableFigure[] = [];
  for (const { name, tables } of compared) {
    const found: (readonly [number, number])[] = [];
    for (const table of tables) found.push(await statistic(await table()));
    const values = found.map(([value]) => value);
    const range = values.length > 1 && { low: Math.min(...values), high: Math.max(...values) };
    figures.push({ name, value: mean(values), ...range, null: mean(found.map(([, nullMean]) => nullMean)) });
  }
  return figures;
}

/** Null draws per compared table: only their mean is shown. */
export const TABLE_DRAWS = 99;
