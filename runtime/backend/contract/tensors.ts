/** Element types and shape checks that both backends share. */
import { ReflowError } from "../../common/errors.ts";
import type { DType, Tensor } from "./backend.ts";

/** Bytes per element. */
export const BYTES: Record<DType, number> = { f32: 4, i32: 4, f16: 2, i8: 1 };
/** Typed array that holds the values of each dtype on the host. */
export const ARRAYS = { f32: Float32Array, i32: Int32Array, f16: Uint16Array, i8: Int8Array };

export const elements = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** @throws RangeError naming the op and the shapes of its tensors, if they do not fit */
export function checkShapes(fits: boolean, op: string, ...tensors: Pick<Tensor, "shape">[]): void {
  if (!fits)
    throw new RangeError(`${op}: shapes do not fit: ${tensors.map((t) => `[${t.shape}]`).join(", ")}`);
}

/** The error of an op on a backend that was disposed of. */
export const disposedError = (): ReflowError =>
  new ReflowError(
    "device",
    "the model, or its backend, was disposed of",
    "load it again, or dispose of it later",
  );
