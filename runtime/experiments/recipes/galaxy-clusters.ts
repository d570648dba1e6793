import { principal } from "../../math/eigen.ts";
import type { Matrix } from "../../math/matrix.ts";
import { cosines, pick, unitRows } from "../../math/matrix.ts";
import { permuted, shuffleWithin } from "../../math/permutation.ts";
import { silhouettes } from "../../math/sparsity.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word, type Words } from "../../text/word-sets.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import { comparedTables, measureTables, RECIPES, TABLE_DRAWS } from "../framework/compared-tables.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";

/** Consecutive words, ordered by frequency, among which categories are exchanged for the second null. */
const BAND = 10;

const CLAIMS = {
  "galaxy.silhouette": {
    kind: "metric",
    statement: "Words of a category cluster in recipe space (silhouette) more than with permuted categories.",
    side: "greater",
  },
  "galaxy.plane": {
    kind: "metric",
    statement:
      "Words of a category also cluster in the plane of the first two principal components more than with permuted categories.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const galaxy = {
  id: "galaxy",
  question: "Do meanings cluster?",
  method:
    "Words of ten categories: the silhouette measures how closely each word lies to its own category. It is 1 if " +
    "every word lies with its own category alone, and 0 between categories. Null: the same words with permuted " +
    "categories.",
  reported: "a silhouette of .105",
  claims: CLAIMS,
  inapplicable: ({ words }) =>
    words.categories.length < 2 ? "fewer than two categories have words of single tokens" : undefined,
  run,
} as const satisfies Experiment;

/** The words of all categories, and the index of each one's category. */
export function labelledWords({ categories }: Words): { words: Word[]; labels: number[] } {
  return {
    words: categories.flatMap(({ words }) => words),
    labels: categories.flatMap(({ words }, label) => words.map(() => label)),
  };
}

/** 1 − cosine for all pairs of rows, (n,n). */
export async function cosineDistances({ model }: ExperimentContext, table: Matrix): Promise<Float64Array> {
  const { data } = await cosines(model.model, table, table);
  return Float64Array.from(data, (cosine) => 1 - cosine);
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, progress } = context;
  const { words: members, labels } = labelledWords(words);
  const ids = members.map(({ id }) => id);
  const recipes = pick(model.recipe, ids);
  const silhouette = (distances: Float64Array) => (labels: readonly number[]) =>
    mean(silhouettes(distances, labels));
  const interval = (distances: Float64Array, purpose: string) =>
    bootstrap(Array.from(silhouettes(distances, labels)), mean, context.random(purpose));

  const distances = await cosineDistances(context, recipes);
  const effect = silhouette(distances)(labels);
  const nullValues = permuted(labels, draws.cheap, context.random("categories"), silhouette(distances));
  await progress(0.3);

  const plane = principal(unitRows(recipes), 2);
  const onPlane = planeDistances(plane.coordinates);
  const planeEffect = silhouette(onPlane)(labels);
  const planeNull = permuted(labels, draws.cheap, context.random("plane"), silhouette(onPlane));
  await progress(0.6);

  // Categories exchanged among words of similar frequency: clusters by frequency alone would survive this.
  const byFrequency = members.map((_, i) => i).sort((a, b) => members[a].count - members[b].count || a - b);
  const random = context.random("frequency");
  const alike = Float64Array.from({ length: draws.cheap }, () => {
    const exchanged = [...labels];
    for (const [at, from] of shuffleWithin(byFrequency, BAND, random).entries()) {
      exchanged[byFrequency[at]] = labels[from];
    }
    return silhouette(distances)(exchanged);
  });
  const bands = labels.slice();
  for (const [at, word] of byFrequency.entries()) bands[word] = Math.floor(at / BAND);
  await progress(0.8);

  const compared = comparedTables(context, context.random("mixtures"), { ids, mixtures: 20 });
  const permutations = context.random("categories of arms");
  const figures = await measureTables(compared, async (table) => {
    const figure = silhouette(await cosineDistances(context, table));
    return [figure(labels), mean(permuted(labels, TABLE_DRAWS, permutations, figure))];
  });
  return {
    parameters: { words: members.length, categories: words.categories.length, draws: draws.cheap },
    claims: [
      claim(
        CLAIMS,
        "galaxy.silhouette",
        effect,
        { name: "permuted categories", values: nullValues },
        interval(distances, "interval"),
      ),
      claim(
        CLAIMS,
        "galaxy.plane",
        planeEffect,
        { name: "permuted categories", values: planeNull },
        interval(onPlane, "interval of the plane"),
      ),
    ],
    figures: [
      map(members, labels, words, plane),
      {
        type: "bars",
        title: "Silhouette in each table",
        caption:
          "1 if words lie with their own category only, 0 if they lie between categories. Marked: the mean with permuted " +
          "categories. Bars with a range show several draws.",
        y: { label: "silhouette (cosine)" },
        bars: [
          ...figures,
          {
            name: "categories exchanged among words of similar frequency",
            value: mean(alike),
            low: Math.min(...alike),
            high: Math.max(...alike),
          },
          { name: `frequency bands of ${BAND} words as categories`, value: silhouette(distances)(bands) },
        ],
      },
      histogram(
        {
          title: "Silhouette with permuted categories",
          caption: "Null distribution with permuted categories, and observed value.",
        },
        { label: "silhouette (cosine)" },
        nullValues,
        effect,
      ),
    ],
    notes: [leftOutNote(words, "categories", "words of the categories")],
  };
}

function map(
  members: readonly Word[],
  labels: readonly number[],
  { categories }: Words,
  { coordinates, shares }: { coordinates: Float64Array; shares: Float64Array },
): Figure {
  const axis = (i: number) => ({
    label: `principal component ${i + 1} (${Math.round(100 * shares[i])}% of the variance)`,
  });
  return {
    type: "scatter",
    title: "Words by their recipes",
    caption: `The ${RECIPES}, normalised to length 1, in the plane of their first two principal components. Without clusters the colours would mix.`,
    x: axis(0),
    y: axis(1),
    points: members.map(({ text }, i) => ({
      x: coordinates[2 * i],
      y: coordinates[2 * i + 1],
      label: text,
      group: categories[labels[i]].name,
    })),
  };
}

/** Euclidean distances of all pairs of points (n,2), (n,n). */
function planeDistances(points: Float64Array): Float64Array {
  const n = points.length / 2;
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return Math.hypot(points[2 * i] - points[2 * j], points[2 * i + 1] - points[2 * j + 1]);
  });
}
