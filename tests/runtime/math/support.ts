import { type Matrix, matrix } from "../../../runtime/math/matrix.ts";

/** A matrix with the given rows. */
export const matrixOf = (...rows: number[][]): Matrix =>
  matrix(rows.length, rows[0].length, Float32Array.from(rows.flat()));
