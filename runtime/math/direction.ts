/** Directions in the space of an activation, and arithmetic on rows, on the host. */

/** A sparse vector: entries of a row outside its indices keep their bits. */
export interface Sparse {
  indices: Int32Array;
  /** The positions of the values. */
  values: Float64Array;
}

/** u = v/‖v‖ */
export interface Direction extends Sparse {
  /** ‖v‖ */
  length: number;
}

export function directionAlong(v: Float64Array): Direction {
  const length = lengthOf(v);
  return { ...sparse(v.map((x) => x / length)), length };
}

function sparse(v: Float64Array): Sparse {
  const indices = Int32Array.from(v.keys()).filter((i) => v[i] !== 0);
  return { indices, values: Float64Array.from(indices, (i) => v[i]) };
}

/** x·u */
export function componentOf(x: Float32Array, { indices, values }: Sparse): number {
  let sum = 0;
  for (let i = 0; i < indices.length; i++) sum += x[indices[i]] * values[i];
  return sum;
}

/** x += by·u */
export function move(x: Float32Array, by: number, { indices, values }: Sparse): void {
  for (let i = 0; i < indices.length; i++) x[indices[i]] += by * values[i];
}

/** a − b */
export function difference(a: Sparse, b: Sparse): Sparse {
  const out = new Map(Array.from(a.indices, (index, i) => [index, a.values[i]]));
  for (const [i, index] of b.indices.entries()) out.set(index, (out.get(index) ?? 0) - b.values[i]);
  return { indices: Int32Array.from(out.keys()), values: Float64Array.from(out.values()) };
}

/** a·b */
export function sparseDot(a: Sparse, b: Sparse): number {
  const at = new Map(Array.from(a.indices, (index, i) => [index, a.values[i]]));
  return b.indices.reduce((sum, index, i) => sum + (at.get(index) ?? 0) * b.values[i], 0);
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** ‖x‖ */
export const lengthOf = (x: ArrayLike<number>): number => Math.sqrt(dot(x, x));
