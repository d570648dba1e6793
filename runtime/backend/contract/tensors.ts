/** What both backends say of tensors. */
import { ReflowError } from "../../common/errors.ts";
import type { DType, Tensor } from "./backend.ts";

/** Bytes of an element. */
export const BYTES: Record<DType, number> = { f32: 4, i32: 4, f16: 2, i8: 1 };
/** What the host has a dtype's values in. */
export const ARRAYS = { f32: Float32Array, i32: Int32Array, f16: Uint16Array, i8: Int8Array };

export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** @throws RangeError naming the op and its tensors' shapes, unless they fit */
export function check(fits: boolean, op: string, ...tensors: Pick<Tensor, "shape">[]): void {
  if (!fits)
    throw new RangeError(`${op}: shapes do not fit: ${tensors.map((t) => `[${t.shape}]`).join(", ")}`);
}

/** What an op throws whose backend was disposed of. */
export const disposedError = (): ReflowError =>
  new ReflowError(
    "device",
    "the model, or its backend, was disposed of",
    "load it again, or dispose of it later",
  );
