import type { DType, HostArray, Tensor } from "../contract/backend.ts";
import { ARRAYS, BYTES, check, disposedError, elements } from "../contract/tensors.ts";
import { Heap } from "./heap.ts";
import type { Build, KernelExports } from "./kernels.ts";

// The control block's fields, as 4-byte indices; kernels-as/assembly/parallel.ts has their meaning.
const ACTIVE = 1348 >> 2;
const SCRATCH = 1352 >> 2;
const SCRATCH_STRIDE = 1356 >> 2;
const SHARED = 1360 >> 2;
const MAY_SLEEP = 1364 >> 2;
const ARGUMENTS = 1408 >> 2;

/** Packed operands of a product: PACK_VALUES of gemm.ts, plus what rounding up to whole panels adds. */
const SHARED_BYTES = (2 ** 21 + 8 * 8192) * 4;
/** PANEL_SCRATCH of gemm.ts, rounded up. */
export const PANEL_BYTES = 20480;
/** Nanoseconds of work below which starting the workers, some 200 ns where they spin, costs more than it saves. */
const PARALLEL_WORK = 1000;

export interface WasmTensor extends Tensor {
  readonly pointer: number;
  readonly scale?: WasmTensor;
}

/** Bun, Deno, Node and workers let their thread wait on memory; a page's main thread throws. */
function mainThreadMaySleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

/** The part of the WASM backend that holds memory and threads; `mod.ts` adds the ops. */
export class WasmDevice {
  readonly name = "wasm";
  readonly lossRows = 128;
  readonly description: string;
  readonly threads: number;
  #heap: Heap;
  #integers!: Int32Array;
  floats!: Float32Array;
  #scratchBytes = 0;
  #disposed = false;

  constructor(
    readonly exports: KernelExports,
    private readonly wasmMemory: WebAssembly.Memory,
    readonly workers: Worker[],
    readonly build: Build,
  ) {
    this.threads = workers.length + 1;
    this.description = `wasm (${build}, ${this.threads} thread${this.threads > 1 ? "s" : ""})`;
    this.#refresh();
    this.#heap = new Heap(wasmMemory, exports.heapBase(), () => this.#refresh());
    const shared = this.#heap.alloc(SHARED_BYTES);
    this.#integers[SHARED] = shared;
    this.#integers[MAY_SLEEP] = +mainThreadMaySleep();
    this.reserveScratch(PANEL_BYTES);
  }

  /** An op would wait for workers that are gone, for ever. */
  #refuseIfDisposed(): void {
    if (this.#disposed) throw disposedError();
  }

  #refresh(): void {
    this.#integers = new Int32Array(this.wasmMemory.buffer, 0, 1024);
    this.floats = new Float32Array(this.wasmMemory.buffer, 0, 1024);
  }

  /** Makes each thread's scratch memory at least this large. */
  protected reserveScratch(bytes: number): void {
    if (bytes <= this.#scratchBytes) return;
    if (this.#scratchBytes) this.#heap.free(this.#integers[SCRATCH] >>> 0);
    const stride = Math.ceil(bytes / 4096) * 4096;
    const at = this.#heap.alloc(stride * this.threads);
    this.#integers[SCRATCH] = at;
    this.#integers[SCRATCH_STRIDE] = stride;
    this.#scratchBytes = stride;
  }

  /**
   * Runs an op, on all threads if `work`, about the nanoseconds it takes on one, is worth it. Tensors stand for their
   * addresses, numbers are integers; floats come after them, put there with {@link float} beforehand.
   */
  run(op: number, work: number, ...args: (Tensor | number)[]): void {
    this.#refuseIfDisposed();
    for (let i = 0; i < args.length; i++) {
      const value = args[i];
      this.#integers[ARGUMENTS + i] = typeof value === "number" ? value : (value as WasmTensor).pointer;
    }
    this.#integers[ACTIVE] = work > PARALLEL_WORK ? this.threads : 1;
    this.exports.run(op);
  }

  float(index: number, value: number): void {
    this.floats[ARGUMENTS + index] = value;
  }

  // ---- memory ----------------------------------------------------------------------------------------------

  alloc(shape: readonly number[], dtype: DType = "f32"): Tensor {
    this.#refuseIfDisposed();
    const size = elements(shape);
    const pointer = this.#heap.alloc(size * BYTES[dtype]);
    if (dtype !== "i8") return { dtype, shape, size, pointer } as WasmTensor;
    if (shape.length !== 2) throw new RangeError(`alloc: i8 tensors have two dimensions, not [${shape}]`);
    const scale = this.alloc([shape[0], Math.ceil(shape[1] / 32)]);
    return { dtype, shape, size, pointer, scale } as WasmTensor;
  }

  free(tensor: Tensor): void {
    this.#heap.free((tensor as WasmTensor).pointer);
    if (tensor.scale) this.free(tensor.scale);
  }

  view(tensor: Tensor, shape: readonly number[], offset = 0): Tensor {
    const size = elements(shape);
    check(tensor.dtype !== "i8" && offset >= 0 && offset + size <= tensor.size, "view", tensor, { shape });
    const pointer = (tensor as WasmTensor).pointer + offset * BYTES[tensor.dtype];
    return { dtype: tensor.dtype, shape, size, pointer } as WasmTensor;
  }

  #values(tensor: Tensor, offset: number, length: number): HostArray {
    check(offset >= 0 && length >= 0 && offset + length <= tensor.size, "read or write", tensor);
    const at = (tensor as WasmTensor).pointer + offset * BYTES[tensor.dtype];
    return new ARRAYS[tensor.dtype](this.wasmMemory.buffer as ArrayBuffer, at, length);
  }

  write(tensor: Tensor, values: HostArray, offset = 0): void {
    check(values instanceof ARRAYS[tensor.dtype], `write of a ${values.constructor.name}`, tensor);
    this.#values(tensor, offset, values.length).set(values);
  }

  async read(tensor: Tensor, offset = 0, length = tensor.size - offset): Promise<HostArray> {
    return this.#values(tensor, offset, length).slice();
  }

  memory(): { allocated: number; peak: number } {
    return { allocated: this.#heap.allocated, peak: this.#heap.peak };
  }

  dispose(): void {
    this.#disposed = true;
    for (const worker of this.workers) worker.terminate();
    this.workers.length = 0;
  }
}
