/** Figures as data: what the report draws, and what a program reads. Numbers are rounded to what can be seen. */

export interface Axis {
  label: string;
  /** Absent where it is a plain number. */
  unit?: string;
  log?: boolean;
}

interface Titled {
  title: string;
  /** One or two sentences: how to read it, and what chance gives. */
  caption: string;
}

/** A line of points, with a band where there is an interval, or a null's range. */
export interface Series {
  name: string;
  x: readonly number[];
  y: readonly number[];
  low?: readonly number[];
  high?: readonly number[];
  /** Drawn as chance is: grey, dashed. */
  isNull?: boolean;
}

export interface Lines extends Titled {
  type: "lines";
  x: Axis;
  y: Axis;
  series: readonly Series[];
}

/** Bars with names; `null` is what chance gives, drawn over each. */
export interface Bars extends Titled {
  type: "bars";
  y: Axis;
  bars: readonly { name: string; value: number; low?: number; high?: number; null?: number }[];
}

/** Points of groups, each with a label that shows where there is room. */
export interface Scatter extends Titled {
  type: "scatter";
  x: Axis;
  y: Axis;
  points: readonly { x: number; y: number; label?: string; group?: string }[];
}

/** A value for each row and column. */
export interface Heatmap extends Titled {
  type: "heatmap";
  x: Axis;
  y: Axis;
  value: Axis;
  columns: readonly string[];
  rows: readonly string[];
  values: readonly (readonly (number | null)[])[];
}

/** How a null's draws are spread, and where the observed value lies. */
export interface Histogram extends Titled {
  type: "histogram";
  x: Axis;
  /** Edges of the bins, one more than there are counts. */
  edges: readonly number[];
  counts: readonly number[];
  observed: number;
}

/** Words and numbers in rows: codebooks, neighbours, texts side by side. */
export interface Table extends Titled {
  type: "table";
  columns: readonly string[];
  rows: readonly (readonly (string | number)[])[];
}

export type Figure = Lines | Bars | Scatter | Heatmap | Histogram | Table;

/** The bins of a null's draws, with room for what was observed. */
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
