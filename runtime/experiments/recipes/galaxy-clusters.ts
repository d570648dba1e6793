import { principal } from "../../math/eigen.ts";
import type { Matrix } from "../../math/matrix.ts";
import { cosines, pick, unitRows } from "../../math/matrix.ts";
import { permuted, shuffleWithin } from "../../math/permutation.ts";
import { silhouettes } from "../../math/sparsity.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word, type Words } from "../../text/word-sets.ts";
import { ARM_DRAWS, metricArms, overArms, RECIPES } from "../framework/compared-tables.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";

/** Words beside each other in frequency, among which categories are exchanged for the second null. */
const BAND = 10;

/** Do meanings cluster? */
export const galaxy: Probe = {
  id: "galaxy",
  question: "Do meanings cluster?",
  inapplicable: ({ words }) =>
    words.categories.length < 2 ? "fewer than two categories have words of single tokens" : undefined,
  run,
};

/** The words of all categories, and each one's category by its place. */
export function labelled({ categories }: Words): { words: Word[]; labels: number[] } {
  return {
    words: categories.flatMap(({ words }) => words),
    labels: categories.flatMap(({ words }, label) => words.map(() => label)),
  };
}

/** 1 − cosine of all pairs of rows. */
export async function cosineDistances({ model }: ProbeContext, table: Matrix): Promise<Float64Array> {
  const { data } = await cosines(model.model, table, table);
  return Float64Array.from(data, (cosine) => 1 - cosine);
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, words, draws, progress } = context;
  const { words: stars, labels } = labelled(words);
  const ids = stars.map(({ id }) => id);
  const recipes = pick(model.recipe, ids);
  const silhouette = (distances: Float64Array) => (labels: readonly number[]) =>
    mean(silhouettes(distances, labels));
  const interval = (distances: Float64Array, purpose: string) =>
    bootstrap(Array.from(silhouettes(distances, labels)), mean, context.random(purpose));

  const distances = await cosineDistances(context, recipes);
  const effect = silhouette(distances)(labels);
  const chance = permuted(labels, draws.cheap, context.random("categories"), silhouette(distances));
  await progress(0.3);

  const plane = principal(unitRows(recipes), 2);
  const onPlane = planeDistances(plane.coordinates);
  const planeEffect = silhouette(onPlane)(labels);
  const planeChance = permuted(labels, draws.cheap, context.random("plane"), silhouette(onPlane));
  await progress(0.6);

  // Categories exchanged among words of like frequency: what clusters by frequency alone does so here too.
  const byFrequency = stars.map((_, i) => i).sort((a, b) => stars[a].count - stars[b].count || a - b);
  const random = context.random("frequency");
  const alike = Float64Array.from({ length: draws.cheap }, () => {
    const exchanged = [...labels];
    for (const [at, from] of shuffleWithin(byFrequency, BAND, random).entries()) {
      exchanged[byFrequency[at]] = labels[from];
    }
    return silhouette(distances)(exchanged);
  });
  const bands = labels.slice();
  for (const [at, star] of byFrequency.entries()) bands[star] = Math.floor(at / BAND);
  await progress(0.8);

  const arms = metricArms(context, context.random("mixtures"), { ids, mixtures: 20 });
  const permutations = context.random("categories of arms");
  const figures = await overArms(arms, async (table) => {
    const figure = silhouette(await cosineDistances(context, table));
    return [figure(labels), mean(permuted(labels, ARM_DRAWS, permutations, figure))];
  });
  return {
    parameters: { words: stars.length, categories: words.categories.length, draws: draws.cheap },
    claims: [
      claim(
        "galaxy.silhouette",
        effect,
        { name: "permuted categories", values: chance },
        interval(distances, "interval"),
      ),
      claim(
        "galaxy.plane",
        planeEffect,
        { name: "permuted categories", values: planeChance },
        interval(onPlane, "interval of the plane"),
      ),
    ],
    figures: [
      map(stars, labels, words, plane),
      {
        type: "bars",
        title: "Silhouette, by what is looked at",
        caption:
          "1 where words stand with their own category only, 0 where they stand between categories. Marked: the mean with " +
          "permuted categories. Bars with a range are of several draws.",
        y: { label: "silhouette (cosine)" },
        bars: [
          ...figures,
          {
            name: "categories exchanged among words of like frequency",
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
          caption: "How the figure is spread where categories say nothing, and what was observed.",
        },
        { label: "silhouette (cosine)" },
        chance,
        effect,
      ),
    ],
    notes: [leftOutNote(words, "categories", "words of the categories")],
  };
}

function map(
  stars: readonly Word[],
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
    caption: `The ${RECIPES}, each of length 1, on the plane in which they differ most. Chance would mix the colours.`,
    x: axis(0),
    y: axis(1),
    points: stars.map(({ text }, i) => ({
      x: coordinates[2 * i],
      y: coordinates[2 * i + 1],
      label: text,
      group: categories[labels[i]].name,
    })),
  };
}

/** Euclidean, of all pairs of points (n,2). */
function planeDistances(points: Float64Array): Float64Array {
  const n = points.length / 2;
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return Math.hypot(points[2 * i] - points[2 * j], points[2 * i + 1] - points[2 * j + 1]);
  });
}
