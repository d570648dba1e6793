/** Figures as data, drawn by the report and readable by programs. */

export interface Axis {
  label: string;
  /** Absent for a dimensionless number. */
  unit?: string;
  log?: boolean;
}

interface Titled {
  title: string;
  /** One or two sentences: how to read the figure, and what its null is. */
  caption: string;
}

/** A line through points, with an optional band: a confidence interval, or the range of a null. */
export interface Series {
  name: string;
  x: readonly number[];
  y: readonly number[];
  low?: readonly number[];
  high?: readonly number[];
  /** Drawn in the style of a null: grey and dashed. */
  isNull?: boolean;
}

export interface Lines extends Titled {
  type: "lines";
  x: Axis;
  y: Axis;
  series: readonly Series[];
}

/** Named bars; `null` is the mean of the null, marked on each bar. */
export interface Bars extends Titled {
  type: "bars";
  y: Axis;
  bars: readonly { name: string; value: number; low?: number; high?: number; null?: number }[];
}

/** Grouped points; a label is shown if there is room for it. */
export interface Scatter extends Titled {
  type: "scatter";
  x: Axis;
  y: Axis;
  points: readonly { x: number; y: number; label?: string; group?: string }[];
}

/** A value per row and column; null for a missing value. */
export interface Heatmap extends Titled {
  type: "heatmap";
  x: Axis;
  y: Axis;
  value: Axis;
  columns: readonly string[];
  rows: readonly string[];
  values: readonly (readonly (number | null)[])[];
}

/** A null distribution and the observed value. */
export interface Histogram extends Titled {
  type: "histogram";
  x: Axis;
  /** Edges of the bins, one more than `counts`. */
  edges: readonly number[];
  counts: readonly number[];
  observed: number;
}

/** Rows of words and numbers: codebooks, neighbours, texts side by side. */
export interface Table extends Titled {
  type: "table";
  columns: readonly string[];
  rows: readonly (readonly (string | number)[])[];
}

export type Figure = Lines | Bars | Scatter | Heatmap | Histogram | Table;

/** Bins the draws of a null over a range that includes the observed value. */
export function histogram(
  titled: { title: string; caption: string },
  x: Axis,
  draws: ArrayLike<number>,
  observed: number,
): Histogram {
  const values = Array.from(draws);
  const low = Math.min(observed, ...values);
  const width = (Math.max(observed, ...values) - low || 1) / BINS;
  const counts: number[] = Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / width))]++;
  const edges = Array.from({ length: BINS + 1 }, (_, i) => low + i * width);
  return { type: "histogram", ...titled, x, edges, counts, observed };
}

const BINS = 40;
