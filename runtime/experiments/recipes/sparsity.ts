import type { Matrix } from "../../math/matrix.ts";
import { matrix, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { gini, hoyer, kurtosis } from "../../math/sparsity.ts";
import { mean, middle95 } from "../../math/statistics.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { coordinateDraws, coordinateNull } from "../framework/null-draws.ts";
import { claim } from "../framework/statistics.ts";

/** An entry is active where it is larger than so many times the mean size of all. */
const ACTIVE = 2;
const THRESHOLDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6];
/** Draws for which the whole threshold curve is worked out. */
const CURVES = 100;

/** Are recipes sparse? */
export const sparsity: Probe = {
  id: "sparsity",
  question: "Are recipes sparse?",
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no recipes"),
  run,
};

/** Figures of coordinates, of which the loss knows nothing: a rotation of the signals changes them all. */
export interface Sparsity {
  /** The share of entries over twice the mean size. */
  active: number;
  /** Mean of the rows'. */
  hoyer: number;
  /** Of all entries together. */
  kurtosis: number;
  /** Of the signals' use: in how many rows each is active. */
  gini: number;
}

export function sparsityOf(recipes: Matrix): Sparsity {
  const use = signalUse(recipes);
  let active = 0;
  let hoyers = 0;
  for (const count of use) active += count;
  for (let i = 0; i < recipes.rows; i++) hoyers += hoyer(rowOf(recipes, i));
  return {
    active: active / recipes.data.length,
    hoyer: hoyers / recipes.rows,
    kurtosis: kurtosis(recipes.data),
    gini: gini(use),
  };
}

/** (S): in how many rows each signal is active. */
function signalUse({ rows, columns, data }: Matrix): Float64Array {
  const threshold = ACTIVE * meanSize(data);
  const use = new Float64Array(columns);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) if (Math.abs(data[at]) > threshold) use[j]++;
  }
  return use;
}

function meanSize(data: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum += Math.abs(data[i]);
  return sum / data.length;
}

/** The share of entries over each threshold, in units of the mean size. */
function curveOf({ data }: Matrix): number[] {
  const unit = meanSize(data);
  const thresholds = THRESHOLDS.map((threshold) => threshold * unit);
  const over = new Float64Array(thresholds.length);
  for (let i = 0; i < data.length; i++) {
    const size = Math.abs(data[i]);
    for (let t = 0; t < thresholds.length && size > thresholds[t]; t++) over[t]++;
  }
  return Array.from(over, (count) => count / data.length);
}

const MEASURES = ["active", "hoyer", "kurtosis", "gini"] as const;
const TITLES: Record<(typeof MEASURES)[number], [title: string, axis: string]> = {
  active: ["Share of entries over twice the mean size", "share"],
  hoyer: ["Hoyer sparsity of recipes", "Hoyer sparsity"],
  kurtosis: ["Kurtosis of recipes", "kurtosis"],
  gini: ["How unevenly signals are used", "Gini coefficient"],
};

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, draws, quick, progress } = context;
  const rows = sample(model.recipe.rows, quick ? 512 : 2048, context.random("rows"));
  const recipes = pick(model.recipe, rows);
  const seen = sparsityOf(recipes);
  const chance: Record<keyof Sparsity, number[]> = { active: [], hoyer: [], kurtosis: [], gini: [] };
  const curves: number[][] = [];
  const uses: Float64Array[] = [];
  const drawn = coordinateDraws(context, recipes, draws.cheap, context.random("coordinates"));
  for await (const turned of drawn) {
    const figures = sparsityOf(turned);
    for (const measure of MEASURES) chance[measure].push(figures[measure]);
    if (curves.length < CURVES) {
      curves.push(curveOf(turned));
      uses.push(signalUse(turned).sort());
    }
    await progress(chance.active.length / draws.cheap);
  }
  const name = coordinateNull(context);
  return {
    parameters: { rows: rows.length, signals: recipes.columns, threshold: ACTIVE, draws: draws.cheap },
    claims: MEASURES.map((measure) =>
      claim(`sparsity.${measure}`, seen[measure], { name, values: chance[measure] }),
    ),
    figures: [
      arms(context, seen, chance, name),
      curve(context, recipes, curves, name),
      use(signalUse(recipes).sort(), uses, rows.length, name),
      ...MEASURES.map((measure) =>
        histogram(
          {
            title: TITLES[measure][0],
            caption: `Of ${rows.length} recipes: the draws are ${name}, which leave the function as it is.`,
          },
          { label: TITLES[measure][1] },
          chance[measure],
          seen[measure],
        ),
      ),
    ],
    notes: [
      `Figures and draws are of ${rows.length} tokens' recipes, chosen at random; the table has those of all, too.`,
      "Of independent Gaussian entries 11.05% are over twice the mean size: a share near that says nothing.",
    ],
  };
}

function arms(
  context: ProbeContext,
  seen: Sparsity,
  chance: Record<keyof Sparsity, number[]>,
  name: string,
): Figure {
  const { model, twin } = context;
  const row = (arm: string, figures: Sparsity) => [arm, ...MEASURES.map((measure) => figures[measure])];
  const gaussian = matrix(1024, model.recipe.columns);
  const random = context.random("gaussian");
  for (let i = 0; i < gaussian.data.length; i++) gaussian.data[i] = random.normal();
  const range = (values: number[]) => {
    const [low, high] = middle95(values);
    return `${mean(values).toPrecision(4)} (${low.toPrecision(4)} to ${high.toPrecision(4)})`;
  };
  return {
    type: "table",
    title: "Sparsity, by what is looked at",
    caption:
      "The claims are held against the second row. The twin has no recipes: its row is of its embedding.",
    columns: ["table", ...MEASURES.map((measure) => TITLES[measure][1])],
    rows: [
      row("recipes", seen),
      [`${name}, mean (middle 95%)`, ...MEASURES.map((measure) => range(chance[measure]))],
      row("recipes of all tokens", sparsityOf(model.recipe)),
      ...(model.initial ? [row("at initialisation", sparsityOf(model.initial.recipe))] : []),
      row("independent Gaussian entries", sparsityOf(gaussian)),
      ...(twin ? [row("twin's embedding", sparsityOf(twin.embedding))] : []),
    ],
  };
}

function curve(context: ProbeContext, recipes: Matrix, curves: number[][], name: string): Figure {
  const { initial } = context.model;
  return {
    type: "lines",
    title: "Active share, by threshold",
    caption:
      "The share of entries over a threshold. Sparse recipes would have fewer than chance over a low threshold, and more " +
      "over a high one.",
    x: { label: "threshold", unit: "× mean size" },
    y: { label: "share of entries", log: true },
    series: [
      { name: "recipes", x: THRESHOLDS, y: curveOf(recipes) },
      { name, x: THRESHOLDS, ...band(curves), isNull: true },
      ...(initial ? [{ name: "at initialisation", x: THRESHOLDS, y: curveOf(initial.recipe) }] : []),
    ],
  };
}

function use(seen: Float64Array, uses: Float64Array[], rows: number, name: string): Figure {
  const x = Array.from(seen, (_, i) => i + 1);
  const shares = (counts: Float64Array) => Array.from(counts, (count) => count / rows);
  return {
    type: "lines",
    title: "Signals, by use",
    caption: "In what share of recipes each signal is active, from the least used on.",
    x: { label: "signal, by use" },
    y: { label: "share of recipes" },
    series: [
      { name: "recipes", x, y: shares(seen) },
      { name, x, ...band(uses.map(shares)), isNull: true },
    ],
  };
}

/** Mean and middle 95% of several curves. */
function band(curves: readonly number[][]): Pick<Series, "y" | "low" | "high"> {
  const at = (i: number) => curves.map((curve) => curve[i]);
  const points = curves[0].map((_, i) => ({ y: mean(at(i)), range: middle95(at(i)) }));
  return {
    y: points.map(({ y }) => y),
    low: points.map(({ range }) => range[0]),
    high: points.map(({ range }) => range[1]),
  };
}
