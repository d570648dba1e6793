import type { Backend, DType, HostArray, Tensor } from "../../runtime/backend/contract/backend.ts";
import * as attention from "./reference/attention.ts";
import * as elementwise from "./reference/elementwise.ts";
import * as loss from "./reference/loss.ts";
import * as matrices from "./reference/matrices.ts";
import * as norms from "./reference/norms.ts";
import { check, type Data, float, own, ReferenceTensor, sizeOf } from "./reference/tensor.ts";

const BYTES: Record<DType, number> = { f32: 4, i32: 4, f16: 2, i8: 1 };

/**
 * The complete Backend contract in plain float64 JavaScript on one thread, written to be easy to verify. Kernels are
 * tested against it. It is stricter than they are: it rejects overlapping outputs, ids out of range and tensors that
 * were freed.
 *
 * `memory()` counts the bytes that a device would allocate: 4 for an `f32`.
 */
export class ReferenceBackend implements Backend {
  readonly name = "wasm";
  readonly description = "float64 reference, one thread";
  readonly lossRows = 128;
  #allocated = 0;
  #peak = 0;

  // ---- memory ----------------------------------------------------------------------------------------------
  alloc(shape: readonly number[], dtype: DType = "f32"): ReferenceTensor {
    check(
      shape.every((n) => Number.isInteger(n) && n >= 0),
      `alloc: shape (${shape})`,
    );
    check(dtype !== "i8" || shape.length === 2, `alloc: i8 needs two dimensions, found (${shape})`);
    const scale = dtype === "i8" ? this.alloc([shape[0], Math.ceil(shape[1] / 32)]) : undefined;
    const tensor = new ReferenceTensor(dtype, [...shape], zeros(sizeOf(shape), dtype), scale);
    this.#allocated += tensor.size * BYTES[dtype];
    this.#peak = Math.max(this.#peak, this.#allocated);
    return tensor;
  }

  free(tensor: Tensor): void {
    const mine = own(tensor);
    check(!mine.owner, "free: a view is freed with its tensor");
    if (mine.scale) this.free(mine.scale);
    mine.freed = true;
    this.#allocated -= mine.size * BYTES[mine.dtype];
  }

  view(tensor: Tensor, shape: readonly number[], offset = 0): ReferenceTensor {
    const mine = own(tensor);
    const size = sizeOf(shape);
    check(mine.dtype !== "i8", "view: not of an i8 tensor");
    check(
      offset >= 0 && offset + size <= mine.size,
      `view: (${shape}) at ${offset} of ${mine.size} elements`,
    );
    return new ReferenceTensor(
      mine.dtype,
      [...shape],
      mine.data.subarray(offset, offset + size),
      undefined,
      mine.owner ?? mine,
    );
  }

  write(tensor: Tensor, values: HostArray, offset = 0): void {
    const mine = own(tensor);
    const expected = hostArrays[mine.dtype];
    check(values instanceof expected, `write: ${mine.dtype} takes ${expected.name}`);
    check(offset >= 0 && offset + values.length <= mine.size, `write: ${values.length} values at ${offset}`);
    mine.data.set(values, offset);
  }

  async read(tensor: Tensor, offset = 0, length = tensor.size - offset): Promise<HostArray> {
    const { data } = own(tensor);
    check(
      offset >= 0 && length >= 0 && offset + length <= data.length,
      `read: ${length} values at ${offset}`,
    );
    const part = data.slice(offset, offset + length);
    return part instanceof Float64Array ? Float32Array.from(part) : part;
  }

  /** The values of an f32 tensor in full precision; not a copy, so that a test can change them. */
  values(tensor: Tensor): Float64Array {
    return float(tensor);
  }

  memory(): { allocated: number; peak: number } {
    return { allocated: this.#allocated, peak: this.#peak };
  }

  dispose(): void {}

  // ---- ops -------------------------------------------------------------------------------------------------
  readonly fill = elementwise.fill;
  readonly copy = elementwise.copy;
  readonly add = elementwise.add;
  readonly addBroadcast = elementwise.addBroadcast;
  readonly sumBroadcast = elementwise.sumBroadcast;
  readonly swiglu = elementwise.swiglu;
  readonly swigluBackward = elementwise.swigluBackward;
  readonly gelu = elementwise.gelu;
  readonly geluBackward = elementwise.geluBackward;

  readonly matmul = matrices.matmul;
  readonly linears = matrices.linears;
  readonly gather = matrices.gather;
  readonly scatterAdd = matrices.scatterAdd;
  readonly topk = matrices.topk;
  readonly topkBackward = matrices.topkBackward;

  readonly rmsnorm = norms.rmsnorm;
  readonly rmsnormBackward = norms.rmsnormBackward;
  readonly layernorm = norms.layernorm;
  readonly layernormBackward = norms.layernormBackward;

  readonly rope = attention.rope;
  readonly attention = attention.attention;
  readonly attentionBackward = attention.attentionBackward;
  readonly writeCache = attention.writeCache;
  readonly attentionCached = attention.attentionCached;

  readonly crossEntropy = loss.crossEntropy;
  readonly globalNorm = loss.globalNorm;
  readonly adamw = loss.adamw;
}

const hostArrays = { f32: Float32Array, i32: Int32Array, f16: Uint16Array, i8: Int8Array };

function zeros(size: number, dtype: DType): Data {
  if (dtype === "f32") return new Float64Array(size);
  return new hostArrays[dtype](size) as Int32Array | Uint16Array | Int8Array;
}
