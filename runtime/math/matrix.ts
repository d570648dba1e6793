/** Matrices on the host; what is large is multiplied on the model's device. */

import { takeTurn } from "../common/event-loop.ts";
import type { Matrix } from "../experiments/framework/experiment.ts";
import type { Model } from "../model/model.ts";

/** Zeros where no values are given. */
export const matrix = (
  rows: number,
  columns: number,
  data: Float32Array = new Float32Array(rows * columns),
): Matrix => ({ rows, columns, data });

export const rowOf = ({ columns, data }: Matrix, row: number): Float32Array =>
  data.subarray(row * columns, (row + 1) * columns);

/** The rows of these indices, in their order. */
export function pick(table: Matrix, rows: ArrayLike<number>): Matrix {
  const out = matrix(rows.length, table.columns);
  for (let i = 0; i < rows.length; i++) out.data.set(rowOf(table, rows[i]), i * table.columns);
  return out;
}

/** Each row divided by its length; rows of zeros stay. */
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

/** a·b on the model's device. Others have a turn first: on a CPU nothing of it waits by itself. */
export async function multiply(
  model: Model,
  a: Matrix,
  b: Matrix,
  options?: { transA?: boolean; transB?: boolean },
): Promise<Matrix> {
  await takeTurn();
  const { shape, data } = await model.multiply(tensor(a), tensor(b), options);
  return { rows: shape[0], columns: shape[1], data };
}

const tensor = ({ rows, columns, data }: Matrix) => ({ shape: [rows, columns], data });

/** (n,m): the cosine of each row of `a` (n,C) with each of `b` (m,C); 0 with a row of zeros. */
export function cosines(model: Model, a: Matrix, b: Matrix): Promise<Matrix> {
  const units = unitRows(a);
  return multiply(model, units, a === b ? units : unitRows(b), { transB: true });
}

/** The indices of the k largest values, largest first; of equals, the lowest index first. */
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

/** Of each row of cosines (n,n) the k largest but its own. */
export function nearest({ rows: n, data }: Matrix, k: number): number[][] {
  const row = new Float32Array(n);
  return Array.from({ length: n }, (_, i) => {
    for (let j = 0; j < n; j++) row[j] = data[i * n + j];
    row[i] = -Infinity;
    return largest(row, k);
  });
}

/** Of each row the k values of largest size, the first of equals, and zeros in the place of the others. */
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
