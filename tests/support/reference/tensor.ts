import type { DType, Tensor } from "../../../runtime/backend/contract/backend.ts";

export type Data = Float64Array | Int32Array | Uint16Array | Int8Array;

/** `f32` values are stored in float64, so that differences are errors of the kernel under test, not of the reference. */
export class ReferenceTensor implements Tensor {
  readonly size: number;
  freed = false;

  constructor(
    readonly dtype: DType,
    readonly shape: readonly number[],
    readonly data: Data,
    readonly scale?: ReferenceTensor,
    /** The tensor whose memory a view shares. */
    readonly owner?: ReferenceTensor,
  ) {
    this.size = data.length;
  }
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new RangeError(message);
}

export function own(tensor: Tensor): ReferenceTensor {
  check(tensor instanceof ReferenceTensor, "a tensor of another backend");
  check(!tensor.freed && !tensor.owner?.freed, "a tensor that was freed");
  return tensor;
}

/** The values of an `f32` tensor; not a copy. */
export function float(tensor: Tensor): Float64Array {
  const { data, dtype } = own(tensor);
  check(data instanceof Float64Array, `expected f32, found ${dtype}`);
  return data;
}

export function int(tensor: Tensor): Int32Array {
  const { data, dtype } = own(tensor);
  check(data instanceof Int32Array, `expected i32, found ${dtype}`);
  return data;
}

/** The values of any tensor as numbers: not a copy for `f32`, otherwise a decoded copy. */
export function decode(tensor: Tensor): Float64Array {
  const { data, shape, scale } = own(tensor);
  if (data instanceof Float64Array) return data;
  if (data instanceof Uint16Array) return Float64Array.from(new Float16Array(data.slice().buffer));
  if (data instanceof Int32Array) return Float64Array.from(data);
  const columns = shape[1];
  const groups = Math.ceil(columns / 32);
  const scales = float(scale!);
  return Float64Array.from(data, (q, i) => {
    const row = Math.floor(i / columns);
    return q * scales[row * groups + ((i % columns) >> 5)];
  });
}

export function expectShape(tensor: Tensor, shape: readonly number[], name: string): void {
  check(
    tensor.shape.length === shape.length && shape.every((n, i) => n === tensor.shape[i]),
    `${name}: expected shape (${shape}), found (${tensor.shape})`,
  );
}

export function sameShape(a: Tensor, b: Tensor, name: string): void {
  expectShape(b, a.shape, name);
}

/** A two-dimensional tensor's [rows, columns]. */
export function matrix(tensor: Tensor, name: string): [rows: number, columns: number] {
  check(tensor.shape.length === 2, `${name}: expected two dimensions, found (${tensor.shape})`);
  return [tensor.shape[0], tensor.shape[1]];
}

/** Throws if an output shares memory with an input. */
export function distinct(out: Tensor, ...inputs: Tensor[]): void {
  const o = own(out).data;
  for (const input of inputs) {
    const x = own(input).data;
    check(
      o.buffer !== x.buffer ||
        o.byteOffset + o.byteLength <= x.byteOffset ||
        x.byteOffset + x.byteLength <= o.byteOffset,
      "an output overlaps an input",
    );
  }
}
