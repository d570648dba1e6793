import { ReflowError } from "../common/errors.ts";

/** The number of values of a row that share a scale. */
export const INT8_GROUP = 32;

/** The number of groups, and scales, of a row. The last group may be shorter. */
export const groupsOf = (columns: number): number => Math.ceil(columns / INT8_GROUP);

/** A matrix in int8: values (rows, columns), scale (rows, ceil(columns/32)). */
export interface Int8Rows {
  values: Int8Array;
  scale: Float32Array;
}

// Adding and subtracting 1.5·2^52 rounds a double to an integer, ties to even, like the SIMD instruction f32x4.nearest
// that rounds activations in the int8 kernels. Math.round rounds ties up.
const ROUND = 1.5 * 2 ** 52;

/**
 * Symmetric int8 per row and group of 32 columns: scale = absmax/127, value = round(x / scale), ties to even,
 * so that |x − value·scale| ≤ scale/2. A group of zeros has scale 0.
 *
 * @param values (rows, columns), row-major
 * @throws ReflowError `numerics` if a value is not finite
 */
export function quantizeRows(values: Float32Array, rows: number, columns: number): Int8Rows {
  if (values.length !== rows * columns) {
    throw new RangeError(`${values.length} values are not ${rows} rows of ${columns}`);
  }
  const quantized = new Int8Array(values.length);
  const scale = new Float32Array(rows * groupsOf(columns));
  let group = 0;
  for (let row = 0; row < rows; row++) {
    const rowEnd = (row + 1) * columns;
    for (let begin = row * columns; begin < rowEnd; begin += INT8_GROUP, group++) {
      const end = Math.min(begin + INT8_GROUP, rowEnd);
      let absmax = 0;
      for (let i = begin; i < end; i++) absmax = Math.max(absmax, Math.abs(values[i]));
      if (!Number.isFinite(absmax)) {
        throw new ReflowError(
          "numerics",
          `a value of row ${row} is not finite`,
          "int8 holds finite values only: use a checkpoint from before the weights diverged",
        );
      }
      scale[group] = absmax / 127;
      if (scale[group] === 0) continue;
      for (let i = begin; i < end; i++) {
        // A quotient can exceed 127 only if the scale is a subnormal f32 that was rounded down.
        const q = Math.max(-127, Math.min(127, values[i] / scale[group]));
        quantized[i] = q + ROUND - ROUND;
      }
    }
  }
  return { values: quantized, scale };
}

/** (rows, columns) f32 values: value[r, c] = int8[r, c] · scale[r, c >> 5]. */
export function dequantizeRows({ values, scale }: Int8Rows, rows: number, columns: number): Float32Array {
  const groups = groupsOf(columns);
  if (values.length !== rows * columns || scale.length !== rows * groups) {
    throw new RangeError(
      `${values.length} values and ${scale.length} scales are not ${rows} rows of ${columns}`,
    );
  }
  const out = new Float32Array(values.length);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      out[i] = values[i] * scale[row * groups + (column >> 5)];
    }
  }
  return out;
}
