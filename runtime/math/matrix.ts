/** Matrices on the host. Large products run on a model's device, through {@link Multiplier}. */
import { yieldToEventLoop } from "../common/event-loop.ts";
import type { TensorData } from "./host-tensor.ts";

/** A row-major matrix of float32 values. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

/** Multiplies matrices faster than JavaScript does: a `Model` is one. */
export interface Multiplier {
  multiply(
    a: TensorData,
    b: TensorData,
    options?: { transA?: boolean; transB?: boolean },
  ): Promise<TensorData>;
}

/** A matrix of zeros, or of the given values. */
export const matrix = (
  rows: number,
  columns: number,
  data: Float32Array = new Float32Array(rows * columns),
): Matrix => ({ rows, columns, data });

export const rowOf = ({ columns, data }: Matrix, row: number): Float32Array =>
  data.subarray(row * columns, (row + 1) * columns);

/** The rows at the given indices, in that order. */
export function pick(table: Matrix, rows: ArrayLike<number>): Matrix {
  const out = matrix(rows.length, table.columns);
  for (let i = 0; i < rows.length; i++) out.data.set(rowOf(table, rows[i]), i * table.columns);
  return out;
}

/** Each row divided by its length; rows of zeros stay zero. */
export function unitRows({ rows, columns, data }: Matrix): Matrix {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    const from = i * columns;
    const to = from + columns;
    let square = 0;
    for (let at = from; at < to; at++) square += data[at] * data[at];
    if (square === 0) continue;
    const scale = 1 / Math.sqrt(square);
    for (let at = from; at < to; at++) out[at] = data[at] * scale;
  }
  return matrix(rows, columns, out);
}

export function transposed({ rows, columns, data }: Matrix): Matrix {
  const out = matrix(columns, rows);
  for (let i = 0, at = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++, at++) out.data[j * rows + i] = data[at];
  }
  return out;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** a·b on a device. Yields to the event loop first, because a product on the CPU never waits by itself. */
export async function multiply(
  device: Multiplier,
  a: Matrix,
  b: Matrix,
  options?: { transA?: boolean; transB?: boolean },
): Promise<Matrix> {
  await yieldToEventLoop();
  const { shape, data } = await device.multiply(tensor(a), tensor(b), options);
  return { rows: shape[0], columns: shape[1], data };
}

const tensor = ({ rows, columns, data }: Matrix) => ({ shape: [rows, columns], data });

/** Cosines (n,m) of each row of `a` (n,C) with each row of `b` (m,C); 0 for a row of zeros. */
export function cosines(device: Multiplier, a: Matrix, b: Matrix): Promise<Matrix> {
  const units = unitRows(a);
  return multiply(device, units, a === b ? units : unitRows(b), { transB: true });
}

/** The indices of the k largest values, largest first; among equal values, the lowest index first. */
export function largest(values: ArrayLike<number>, k: number): number[] {
  const best = new Int32Array(Math.min(k, values.length));
  let found = 0;
  let least = Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (found === best.length && !(value > least)) continue;
    let at = found < best.length ? found++ : found - 1;
    for (; at > 0 && value > values[best[at - 1]]; at--) best[at] = best[at - 1];
    best[at] = i;
    least = values[best[found - 1]];
  }
  return Array.from(best);
}

/** The k largest entries of each row of cosines (n,n), except the diagonal. */
export function nearest({ rows: n, data }: Matrix, k: number): number[][] {
  const row = new Float32Array(n);
  return Array.from({ length: n }, (_, i) => {
    for (let j = 0; j < n; j++) row[j] = data[i * n + j];
    row[i] = -Infinity;
    return largest(row, k);
  });
}

/** Keeps the k entries of largest magnitude in each row (the first among equals) and sets the others to zero. */
export function keepLargest({ rows, columns, data }: Matrix, k: number): Matrix {
  const out = matrix(rows, columns);
  const sizes = new Float32Array(columns);
  for (let i = 0; i < rows; i++) {
    const from = i * columns;
    for (let j = 0; j < columns; j++) sizes[j] = Math.abs(data[from + j]);
    const least = sizes.sort()[Math.max(0, columns - k)];
    let equal = k;
    for (let j = 0; j < columns; j++) if (sizes[j] > least) equal--;
    for (let at = from; at < from + columns; at++) {
      const size = Math.abs(data[at]);
      if (size > least || (size === least && equal-- > 0)) out.data[at] = data[at];
    }
  }
  return out;
}
