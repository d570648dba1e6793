import type { Matrix } from "../../math/matrix.ts";
import { matrix, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { gini, hoyer, kurtosis } from "../../math/sparsity.ts";
import { mean, middle95 } from "../../math/statistics.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { coordinateDraws, coordinateNull } from "../framework/null-draws.ts";

/** An entry is active if its size exceeds this multiple of the mean size of all entries. */
const ACTIVE = 2;
const THRESHOLDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6];
/** Draws for which the whole threshold curve is computed. */
const CURVES = 100;

const CLAIMS = {
  "sparsity.active": {
    kind: "bound",
    statement: "Fewer entries of R are active (over twice the mean |w|) than after a random rotation.",
    side: "less",
  },
  "sparsity.hoyer": {
    kind: "bound",
    statement: "Recipes are sparser (Hoyer) than after a random rotation.",
    side: "greater",
  },
  "sparsity.kurtosis": {
    kind: "bound",
    statement: "Recipes have heavier tails (kurtosis) than after a random rotation.",
    side: "greater",
  },
  "sparsity.gini": {
    kind: "bound",
    statement: "Signals are used more evenly (Gini) than after a random rotation.",
    side: "less",
  },
} as const satisfies ClaimSpecs;

export const sparsity = {
  id: "sparsity",
  question: "Are recipes sparse?",
  method:
    "Sparse recipes would make single signals worth interpreting. But sparsity depends on the coordinates: a random " +
    "rotation of the signals gives a model that computes exactly the same with other recipes. Null: the sparsity of " +
    "those recipes.",
  reported:
    "116.6 of 1024 signals active per token (11.38%; independent Gaussian entries give 11.05%) and a Gini coefficient " +
    "of .085",
  claims: CLAIMS,
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no recipes"),
  run,
} as const satisfies Experiment;

/** Statistics of coordinates, to which the loss is blind: a rotation of the signals changes all of them. */
export interface Sparsity {
  /** Fraction of entries over twice the mean size. */
  active: number;
  /** Mean over rows. */
  hoyer: number;
  /** Kurtosis of all entries pooled. */
  kurtosis: number;
  /** Gini coefficient of {@link signalUse}. */
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

/** Number of rows in which each signal is active, (S). */
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

/** Fraction of entries over each threshold, in units of the mean size. */
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
  active: ["Fraction of entries over twice the mean size", "fraction"],
  hoyer: ["Hoyer sparsity of recipes", "Hoyer sparsity"],
  kurtosis: ["Kurtosis of recipes", "kurtosis"],
  gini: ["Inequality of signal use", "Gini coefficient"],
};

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, draws, quick, progress } = context;
  const rows = sample(model.recipe.rows, quick ? 512 : 2048, context.random("rows"));
  const recipes = pick(model.recipe, rows);
  const observed = sparsityOf(recipes);
  const nullValues: Record<keyof Sparsity, number[]> = { active: [], hoyer: [], kurtosis: [], gini: [] };
  const curves: number[][] = [];
  const uses: Float64Array[] = [];
  const drawn = coordinateDraws(context, recipes, draws.cheap, context.random("coordinates"));
  for await (const rotated of drawn) {
    const figures = sparsityOf(rotated);
    for (const measure of MEASURES) nullValues[measure].push(figures[measure]);
    if (curves.length < CURVES) {
      curves.push(curveOf(rotated));
      uses.push(signalUse(rotated).sort());
    }
    await progress(nullValues.active.length / draws.cheap);
  }
  const name = coordinateNull(context);
  return {
    parameters: { rows: rows.length, signals: recipes.columns, threshold: ACTIVE, draws: draws.cheap },
    claims: MEASURES.map((measure) =>
      claim(CLAIMS, `sparsity.${measure}`, observed[measure], { name, values: nullValues[measure] }),
    ),
    figures: [
      sparsityTable(context, observed, nullValues, name),
      curve(context, recipes, curves, name),
      use(signalUse(recipes).sort(), uses, rows.length, name),
      ...MEASURES.map((measure) =>
        histogram(
          {
            title: TITLES[measure][0],
            caption: `Over ${rows.length} recipes. The draws are ${name}, which do not change the function of the model.`,
          },
          { label: TITLES[measure][1] },
          nullValues[measure],
          observed[measure],
        ),
      ),
    ],
    notes: [
      `Statistics and draws use the recipes of ${rows.length} tokens chosen at random; the table also gives those of all tokens.`,
      "Of independent Gaussian entries, 11.05% are over twice the mean size: a fraction close to that is no evidence of sparsity.",
    ],
  };
}

function sparsityTable(
  context: ExperimentContext,
  observed: Sparsity,
  nullValues: Record<keyof Sparsity, number[]>,
  name: string,
): Figure {
  const { model, twin } = context;
  const row = (table: string, figures: Sparsity) => [table, ...MEASURES.map((measure) => figures[measure])];
  const gaussian = matrix(1024, model.recipe.columns);
  const random = context.random("gaussian");
  for (let i = 0; i < gaussian.data.length; i++) gaussian.data[i] = random.normal();
  const range = (values: number[]) => {
    const [low, high] = middle95(values);
    return `${mean(values).toPrecision(4)} (${low.toPrecision(4)} to ${high.toPrecision(4)})`;
  };
  return {
    type: "table",
    title: "Sparsity of each table",
    caption:
      "The claims are tested against the second row. The twin has no recipes: its row describes its embedding.",
    columns: ["table", ...MEASURES.map((measure) => TITLES[measure][1])],
    rows: [
      row("recipes", observed),
      [`${name}, mean (central 95%)`, ...MEASURES.map((measure) => range(nullValues[measure]))],
      row("recipes of all tokens", sparsityOf(model.recipe)),
      ...(model.initial ? [row("at initialisation", sparsityOf(model.initial.recipe))] : []),
      row("independent Gaussian entries", sparsityOf(gaussian)),
      ...(twin ? [row("twin's embedding", sparsityOf(twin.embedding))] : []),
    ],
  };
}

function curve(context: ExperimentContext, recipes: Matrix, curves: number[][], name: string): Figure {
  const { initial } = context.model;
  return {
    type: "lines",
    title: "Active fraction by threshold",
    caption:
      "Fraction of entries over a threshold. Sparse recipes would have fewer entries than the null over a low threshold " +
      "and more over a high one.",
    x: { label: "threshold", unit: "× mean size" },
    y: { label: "fraction of entries", log: true },
    series: [
      { name: "recipes", x: THRESHOLDS, y: curveOf(recipes) },
      { name, x: THRESHOLDS, ...band(curves), isNull: true },
      ...(initial ? [{ name: "at initialisation", x: THRESHOLDS, y: curveOf(initial.recipe) }] : []),
    ],
  };
}

function use(observed: Float64Array, uses: Float64Array[], rows: number, name: string): Figure {
  const x = Array.from(observed, (_, i) => i + 1);
  const fractions = (counts: Float64Array) => Array.from(counts, (count) => count / rows);
  return {
    type: "lines",
    title: "Signals by use",
    caption: "Fraction of recipes in which each signal is active, in ascending order.",
    x: { label: "signal, by use" },
    y: { label: "fraction of recipes" },
    series: [
      { name: "recipes", x, y: fractions(observed) },
      { name, x, ...band(uses.map(fractions)), isNull: true },
    ],
  };
}

/** Mean and central 95% of several curves. */
function band(curves: readonly number[][]): Pick<Series, "y" | "low" | "high"> {
  const at = (i: number) => curves.map((curve) => curve[i]);
  const points = curves[0].map((_, i) => ({ y: mean(at(i)), range: middle95(at(i)) }));
  return {
    y: points.map(({ y }) => y),
    low: points.map(({ range }) => range[0]),
    high: points.map(({ range }) => range[1]),
  };
}
