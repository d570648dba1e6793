import type { Matrix } from "../../math/matrix.ts";
import { largest, transposed } from "../../math/matrix.ts";
import { kurtosis } from "../../math/sparsity.ts";
import type { ProbeContext } from "../framework/experiment.ts";
import type { Table } from "../framework/figure.ts";
import { coordinateDraws } from "../framework/null-draws.ts";

/** Words at either end of a signal. */
export const ENDS = 5;

/**
 * The share of ends at which all words are of one category. (The share of pairs that have a category in common is a poor
 * figure: rotated, a signal of one category is shared by many, and of planted signals it didn't find the clearest.)
 *
 * @param recipes (n,S) of labelled words
 */
export function pureEnds(recipes: Matrix, labels: readonly number[]): number {
  const { rows: n, columns: S, data } = recipes;
  const column = new Float32Array(n);
  let pure = 0;
  for (let s = 0; s < S; s++) {
    for (const sign of [1, -1]) {
      for (let i = 0; i < n; i++) column[i] = sign * data[i * S + s];
      const [first, ...others] = largest(column, Math.min(ENDS, n));
      if (others.every((i) => labels[i] === labels[first])) pure++;
    }
  }
  return pure / (2 * S);
}

/** The same with what `bound` claims are held against. */
export async function pureByChance(
  context: ProbeContext,
  recipes: Matrix,
  labels: readonly number[],
): Promise<number[]> {
  const { draws, progress, random } = context;
  const values: number[] = [];
  const drawn = coordinateDraws(context, recipes, draws.cheap, random("codebooks"));
  for await (const turned of drawn) {
    values.push(pureEnds(turned, labels));
    await progress(0.2 + (0.8 * values.length) / draws.cheap);
  }
  return values;
}

/**
 * The codebooks of the signals that stand out most, by the kurtosis of their loadings.
 *
 * @param recipes (n,S) of the tokens, n frequent ones
 */
export function codebooks(recipes: Matrix, tokens: readonly string[], count: number): Table {
  const loadings = transposed(recipes);
  const of = (s: number) => loadings.data.subarray(s * recipes.rows, (s + 1) * recipes.rows);
  const outstanding = largest(
    Array.from({ length: recipes.columns }, (_, s) => kurtosis(of(s))),
    count,
  );
  const words = (values: Float32Array) =>
    largest(values, 8)
      .map((i) => tokens[i])
      .join(", ");
  return {
    type: "table",
    title: "Codebooks",
    caption:
      `What the ${count} signals with the heaviest tails are made of: the words that have most of each, and least. ` +
      "Lists like these can be read into any rotation of the signals; the claim above says whether there is more to them.",
    columns: ["signal", "most", "least"],
    rows: outstanding.map((s) => [s, words(of(s)), words(of(s).map((x) => -x))]),
  };
}
