import { effectiveRank, eigen, gram, singularValues } from "../../math/eigen.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, pick, rowOf, unitRows } from "../../math/matrix.ts";
import { randomDirection } from "../../math/permutation.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";

/** Maximum number of basis rows tested against random directions: the cost grows with its square. */
const MOST_ROWS = 256;

const CLAIMS = {
  "geometry.coherence": {
    kind: "metric",
    statement:
      "The rows of the basis are more alike (mean squared cosine, weighted by their lengths) than random directions.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const geometry = {
  id: "geometry",
  question: "How does the basis use the residual stream?",
  method:
    "The basis gives the direction of each signal in the residual stream. Its singular values show how many " +
    "directions are in use. Null: an equal number of random directions of the same lengths.",
  claims: CLAIMS,
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no basis"),
  run,
} as const satisfies Experiment;

async function run(context: ExperimentContext): Promise<Findings> {
  const { draws, progress } = context;
  const basis = context.model.basis!;
  const rows = MOST_ROWS < basis.rows ? pick(basis, spread(basis.rows, MOST_ROWS)) : basis;
  const effect = coherence(rows);
  const random = context.random("directions");
  const nullValues = new Float64Array(draws.cheap);
  for (let draw = 0; draw < draws.cheap; draw++) {
    nullValues[draw] = await coherenceOnDevice(context, directionsLike(rows, random));
    await progress((0.7 * draw) / draws.cheap);
  }
  return {
    parameters: { signals: basis.rows, width: basis.columns, rows: rows.rows, draws: draws.cheap },
    claims: [
      claim(CLAIMS, "geometry.coherence", effect, {
        name: "random directions of the same lengths",
        values: nullValues,
      }),
    ],
    figures: [
      ...(await spectra(context)),
      orthogonality(context),
      histogram(
        {
          title: "Coherence of the basis",
          caption:
            "The mean squared cosine of two rows, weighted by their lengths and including each row with itself: null from random " +
            "directions with the lengths of the rows, and observed value. It is invariant under rotations of the signals.",
        },
        { label: "mean squared cosine" },
        nullValues,
        effect,
      ),
    ],
    notes: [],
  };
}

/**
 * Σ(b_i·b_j)² / (Σ‖b_i‖²)², the mean squared cosine of two rows, weighted by the squared lengths of both. In terms of singular
 * values it is Σσ⁴/(Σσ²)², which is invariant under rotation.
 */
export function coherence(rows: Matrix): number {
  const { values, n } = gram(rows);
  return coherenceOf(values, n);
}

/** Coherence from a Gram matrix, either rows·rowsᵀ or rowsᵀ·rows. */
function coherenceOf(gram: ArrayLike<number>, n: number): number {
  let [squares, trace] = [0, 0];
  for (let at = 0; at < n * n; at++) squares += gram[at] ** 2;
  for (let i = 0; i < n; i++) trace += gram[i * n + i];
  return squares / trace ** 2;
}

async function coherenceOnDevice({ model }: ExperimentContext, rows: Matrix): Promise<number> {
  const { data } = await multiply(model.model, rows, rows, { transB: true });
  return coherenceOf(data, rows.rows);
}

function directionsLike(rows: Matrix, random: ReturnType<ExperimentContext["random"]>): Matrix {
  const out = matrix(rows.rows, rows.columns);
  for (let i = 0; i < rows.rows; i++) {
    const length = lengthOf(rowOf(rows, i));
    rowOf(out, i).set(randomDirection(rows.columns, random).map((x) => x * length));
  }
  return out;
}

const lengthOf = (x: Float32Array): number => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

const spread = (n: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor((i * n) / count));

async function spectra(context: ExperimentContext): Promise<Figure[]> {
  const { model, twin, progress } = context;
  const basis = model.basis!;
  const gaussian = matrix(basis.rows, basis.columns);
  const random = context.random("gaussian");
  for (let i = 0; i < gaussian.data.length; i++) gaussian.data[i] = random.normal();
  const tables: [name: string, table: Matrix | undefined, isNull: boolean][] = [
    ["basis", basis, false],
    ["basis at initialisation", model.initial?.basis, true],
    ["a Gaussian basis", gaussian, true],
    ["recipes", model.recipe, false],
    ["embedding", model.embedding, false],
    ["twin's embedding", twin?.embedding, false],
  ];
  const series: Series[] = [];
  const rows: (string | number)[][] = [];
  for (const [name, table, isNull] of tables) {
    if (!table) continue;
    const singular = await spectrumOf(context, table);
    const { length } = singular;
    series.push({
      name,
      x: Array.from(singular, (_, i) => (i + 1) / length),
      y: Array.from(singular, (value) => value / singular[0]),
      isNull,
    });
    rows.push([name, length, effectiveRank(singular), 1 / participation(singular)]);
    await progress(0.7 + (0.3 * rows.length) / tables.length);
  }
  return [
    {
      type: "lines",
      title: "Singular values",
      caption:
        "Singular values of each table in descending order, relative to the largest. A flat line uses all directions equally.",
      x: { label: "rank, as a fraction of all" },
      y: { label: "singular value / largest", log: true },
      series,
    },
    {
      type: "table",
      title: "Directions in use",
      caption:
        "The effective rank is the exponential of the entropy of the singular values; the participation ratio is (Σσ²)²/Σσ⁴. Both " +
        "equal the number of directions if all are used equally.",
      columns: ["table", "directions", "effective rank", "participation ratio"],
      rows,
    },
  ];
}

const participation = (singular: Float64Array): number => {
  let [squares, fourths] = [0, 0];
  for (const s of singular) {
    squares += s ** 2;
    fourths += s ** 4;
  }
  return fourths / squares ** 2;
};

/** Singular values. The Gram matrix of a long table is computed on the device in float32: values below a thousandth of the largest are rounding errors. */
async function spectrumOf({ model }: ExperimentContext, table: Matrix): Promise<Float64Array> {
  if (table.rows <= 4 * table.columns) {
    const { values, n } = gram(table);
    return singularValues(values, n);
  }
  const { data, rows: n } = await multiply(model.model, table, table, { transA: true });
  return eigen(data, n).values.map((x) => Math.sqrt(Math.max(0, x)));
}

/** Cosines between rows of the basis, now and at initialisation. */
function orthogonality({ model }: ExperimentContext): Figure {
  const rows: (string | number)[][] = [];
  for (const [name, basis] of [
    ["basis", model.basis],
    ["basis at initialisation", model.initial?.basis],
  ] as const) {
    if (!basis) continue;
    const cosines = cosinesOf(basis);
    let [sum, largest] = [0, 0];
    for (const cosine of cosines) {
      sum += Math.abs(cosine);
      largest = Math.max(largest, Math.abs(cosine));
    }
    const lengths = Array.from({ length: basis.rows }, (_, i) => lengthOf(rowOf(basis, i)));
    rows.push([name, sum / cosines.length, largest, Math.min(...lengths), Math.max(...lengths)]);
  }
  return {
    type: "table",
    title: "Orthogonality of signal directions",
    caption: `Cosines between different rows of the basis. For random directions the mean |cosine| is ${expectedCosine(model.basis!.columns)}.`,
    columns: ["table", "mean |cosine|", "largest |cosine|", "shortest row", "longest row"],
    rows,
  };
}

/** E|cos| of two random directions: √(2/πd), for large d. */
const expectedCosine = (d: number): string => Math.sqrt(2 / (Math.PI * d)).toFixed(3);

/** Cosines of all pairs of different rows. */
function cosinesOf(basis: Matrix): Float64Array {
  const unit = unitRows(basis);
  const out = new Float64Array((basis.rows * (basis.rows - 1)) / 2);
  let at = 0;
  for (let i = 0; i < basis.rows; i++) {
    const a = rowOf(unit, i);
    for (let j = 0; j < i; j++) {
      const b = rowOf(unit, j);
      let sum = 0;
      for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
      out[at++] = sum;
    }
  }
  return out;
}
