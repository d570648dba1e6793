import {
  ACTIVE_THREADS,
  ARGUMENTS,
  CONTROL_BYTES,
  MAY_SLEEP,
  OP,
  PANEL_SCRATCH,
  SCRATCH,
  SCRATCH_STRIDE,
  SEQUENCE,
  SHARED_SCRATCH,
  SHARED_SCRATCH_BYTES,
} from "../../../kernels-as/assembly/layout.ts";
import { EXIT } from "../../../kernels-as/assembly/ops.ts";
import type { DType, HostArray, Tensor } from "../contract/backend.ts";
import { ARRAYS, BYTES, checkShapes, disposedError, elements } from "../contract/tensors.ts";
import { Heap } from "./heap.ts";
import type { Build, KernelExports } from "./kernels.ts";
import type { Thread } from "./threads.ts";

/** Nanoseconds of work below which starting the workers (some 200 ns while they spin) costs more than it saves. */
const PARALLEL_WORK = 1000;

export interface WasmTensor extends Tensor {
  readonly pointer: number;
  readonly scale?: WasmTensor;
}

/** True in Bun, Deno, Node and workers; on a page's main thread `Atomics.wait` throws. */
function mainThreadMaySleep(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

/** Memory and threads of the WASM backend; `mod.ts` adds the ops. */
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
    readonly workers: Thread[],
    readonly build: Build,
  ) {
    this.threads = workers.length + 1;
    this.description = `wasm (${build}, ${this.threads} thread${this.threads > 1 ? "s" : ""})`;
    this.#refresh();
    this.#heap = new Heap(wasmMemory, exports.heapBase(), () => this.#refresh());
    const shared = this.#heap.alloc(SHARED_SCRATCH_BYTES);
    this.#integers[SHARED_SCRATCH >> 2] = shared;
    this.#integers[MAY_SLEEP >> 2] = +mainThreadMaySleep();
    this.reserveScratch(PANEL_SCRATCH);
  }

  /** After disposal an op would wait forever for workers that were terminated. */
  #throwIfDisposed(): void {
    if (this.#disposed) throw disposedError();
  }

  #refresh(): void {
    this.#integers = new Int32Array(this.wasmMemory.buffer, 0, CONTROL_BYTES >> 2);
    this.floats = new Float32Array(this.wasmMemory.buffer, 0, CONTROL_BYTES >> 2);
  }

  /**
   * Makes each thread's scratch memory at least this large.
   *
   * @param bytes as a kernel export returns it: a u32, which JavaScript sees as an i32
   */
  protected reserveScratch(bytes: number): void {
    const needed = bytes >>> 0;
    if (needed <= this.#scratchBytes) return;
    if (this.#scratchBytes) this.#heap.free(this.#integers[SCRATCH >> 2] >>> 0);
    // If the allocation throws, the next op must not use the freed memory.
    this.#scratchBytes = 0;
    const stride = Math.ceil(needed / 4096) * 4096;
    const at = this.#heap.alloc(stride * this.threads);
    this.#integers[SCRATCH >> 2] = at;
    this.#integers[SCRATCH_STRIDE >> 2] = stride;
    this.#scratchBytes = stride;
  }

  /**
   * Runs an op, on all threads if it is long enough.
   *
   * @param work estimated nanoseconds on one thread
   * @param args tensors, passed as their addresses, and integers. Arguments that are floats follow them: set those with
   *   {@link float} beforehand
   */
  run(op: number, work: number, ...args: (Tensor | number)[]): void {
    this.#throwIfDisposed();
    for (let i = 0; i < args.length; i++) {
      const value = args[i];
      this.#integers[(ARGUMENTS >> 2) + i] =
        typeof value === "number" ? value : (value as WasmTensor).pointer;
    }
    this.#integers[ACTIVE_THREADS >> 2] = work > PARALLEL_WORK ? this.threads : 1;
    this.exports.run(op);
  }

  /** Sets the argument at `index` of the next op to a float. */
  float(index: number, value: number): void {
    this.floats[(ARGUMENTS >> 2) + index] = value;
  }

  // ---- memory ----------------------------------------------------------------------------------------------

  alloc(shape: readonly number[], dtype: DType = "f32"): Tensor {
    this.#throwIfDisposed();
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
    checkShapes(tensor.dtype !== "i8" && offset >= 0 && offset + size <= tensor.size, "view", tensor, {
      shape,
    });
    const pointer = (tensor as WasmTensor).pointer + offset * BYTES[tensor.dtype];
    return { dtype: tensor.dtype, shape, size, pointer } as WasmTensor;
  }

  #values(tensor: Tensor, offset: number, length: number): HostArray {
    checkShapes(offset >= 0 && length >= 0 && offset + length <= tensor.size, "read or write", tensor);
    const at = (tensor as WasmTensor).pointer + offset * BYTES[tensor.dtype];
    return new ARRAYS[tensor.dtype](this.wasmMemory.buffer as ArrayBuffer, at, length);
  }

  write(tensor: Tensor, values: HostArray, offset = 0): void {
    checkShapes(values instanceof ARRAYS[tensor.dtype], `write of a ${values.constructor.name}`, tensor);
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
    if (this.workers.length > 0) this.#endWorkers();
  }
  /** Workers leave the kernels before they are terminated: in Deno a sleeping thread would keep the process alive. */
  #endWorkers(): void {
    this.#integers[OP >> 2] = EXIT;
    Atomics.add(this.#integers, SEQUENCE >> 2, 1);
    Atomics.notify(this.#integers, SEQUENCE >> 2);
    for (const worker of this.workers) worker.terminate();
    this.workers.length = 0;
  }
}
