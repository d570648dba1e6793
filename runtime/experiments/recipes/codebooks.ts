import type { Matrix } from "../../math/matrix.ts";
import { largest, transposed } from "../../math/matrix.ts";
import { kurtosis } from "../../math/sparsity.ts";
import type { ExperimentContext } from "../framework/experiment.ts";
import type { Table } from "../framework/figure.ts";
import { coordinateDraws } from "../framework/null-draws.ts";

/** Words considered at either end of a signal. */
export const TOP_WORDS = 5;

/**
 * Fraction of signal ends at which all words belong to one category. (The fraction of word pairs that share a category is a
 * poor statistic: a rotation spreads the signal of one category over many, and it missed the clearest of the planted signals.)
 *
 * @param recipes of the labelled words, (n,S)
 */
export function pureEnds(recipes: Matrix, labels: readonly number[]): number {
  const { rows: n, columns: S, data } = recipes;
  const column = new Float32Array(n);
  let pure = 0;
  for (let s = 0; s < S; s++) {
    for (const sign of [1, -1]) {
      for (let i = 0; i < n; i++) column[i] = sign * data[i * S + s];
      const [first, ...others] = largest(column, Math.min(TOP_WORDS, n));
      if (others.every((i) => labels[i] === labels[first])) pure++;
    }
  }
  return pure / (2 * S);
}

/** The null of {@link pureEnds}, as for every `bound` claim. */
export async function pureEndsNull(
  context: ExperimentContext,
  recipes: Matrix,
  labels: readonly number[],
): Promise<number[]> {
  const { draws, progress, random } = context;
  const values: number[] = [];
  const drawn = coordinateDraws(context, recipes, draws.cheap, random("codebooks"));
  for await (const rotated of drawn) {
    values.push(pureEnds(rotated, labels));
    await progress(0.2 + (0.8 * values.length) / draws.cheap);
  }
  return values;
}

/**
 * The codebooks of the most distinctive signals, by the kurtosis of their loadings.
 *
 * @param recipes of n frequent tokens, (n,S)
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
      `The words with the largest and smallest weights on the ${count} signals with the heaviest tails. ` +
      "Any rotation of the signals yields plausible lists; the claim above tests whether these are better than chance.",
    columns: ["signal", "largest weights", "smallest weights"],
    rows: outstanding.map((s) => [s, words(of(s)), words(of(s).map((x) => -x))]),
  };
}
