import { ReflowError } from "../../../common/errors.ts";
import type { DType, HostArray, Tensor } from "../../contract/backend.ts";
import { ARRAYS, BYTES, checkShapes, disposedError, elements } from "../../contract/tensors.ts";
import { type Constants, type Kernel, moduleCode, type Variant } from "./kernel.ts";
import type { Tier } from "./tier.ts";

/** Bindings begin at multiples of this many bytes: WebGPU's default `minStorageBufferOffsetAlignment`. */
const ALIGNMENT = 256;
/** Bytes reserved for the parameters of a dispatch: the alignment of uniform offsets. */
const PARAMS_BYTES = 256;
/** Maximum number of dispatches that are recorded before they are submitted. */
const MAX_DISPATCHES = 1024;
const MAX_WORKGROUPS = 65535;

interface WebgpuTensor extends Tensor {
  readonly buffer: GPUBuffer;
  /** Size of the buffer: reading it from the buffer takes a microsecond. */
  readonly bytes: number;
  /** Number of the buffer: part of the cache key of bind groups. */
  readonly id: number;
  /** Offset in the buffer, in bytes. */
  readonly at: number;
  readonly scale?: WebgpuTensor;
}

interface Pipeline {
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  bindGroups: Map<string, GPUBindGroup>;
}

const roundUp = (n: number, to: number) => Math.ceil(n / to) * to;

/** Whether all tensors have the shape of the first. */
export const sameShape = (first: Tensor, ...others: Tensor[]): boolean =>
  others.every(({ shape }) => `${shape}` === `${first.shape}`);

/** The constant `W` for rows of n elements with `readW` and `writeW`: 4 if all rows begin at multiples of four elements. */
export function widthFor(n: number, ...tensors: Tensor[]): { W: 1 | 4 } {
  const inFours = (tensors as WebgpuTensor[]).every(({ at, dtype }) => (at / BYTES[dtype]) % 4 === 0);
  return { W: n % 4 === 0 && inFours ? 4 : 1 };
}

/**
 * Memory and dispatches of the WebGPU backend; `mod.ts` adds the ops.
 *
 * Dispatches are recorded into one compute pass and submitted at the next read, write or free: a training step submits
 * once for each of its reads. Their parameters go through one uniform buffer, which is written at the submit. WebGPU
 * reports failures asynchronously: the first is kept, and every later {@link WebgpuDevice.read} throws it.
 */
export class WebgpuDevice {
  readonly name = "webgpu";
  readonly lossRows = 1024;
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #params: GPUBuffer;
  readonly #hostParams = new ArrayBuffer(MAX_DISPATCHES * PARAMS_BYTES);
  readonly #u32 = new Uint32Array(this.#hostParams);
  readonly #f32 = new Float32Array(this.#hostParams);
  /** Cached bind groups by buffer, to be removed when the buffer is freed. */
  readonly #bound = new Map<number, { groups: Map<string, GPUBindGroup>; key: string }[]>();
  readonly #staging: GPUBuffer[] = [];
  readonly #scratch = new Map<string, Tensor>();
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #dispatches = 0;
  #buffers = 0;
  #allocated = 0;
  #peak = 0;
  #failure: ReflowError | undefined;
  #disposed = false;

  constructor(
    readonly gpu: GPUDevice,
    readonly tier: Tier,
    readonly description: string,
    /** Why no faster tier was chosen. */
    readonly reasons: readonly string[] = [],
  ) {
    this.#params = gpu.createBuffer({
      size: MAX_DISPATCHES * PARAMS_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    gpu.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#failure ??= deviceError((event as GPUUncapturedErrorEvent).error);
    });
    gpu.lost.then(({ reason, message }) => {
      if (this.#disposed) return;
      this.#failure = lostError(message || reason);
    });
  }

  #throwIfDisposed(): void {
    if (this.#disposed) throw disposedError();
  }

  // ---- kernels ---------------------------------------------------------------------------------------------

  /**
   * Records a dispatch of a kernel.
   *
   * @param tensors by the names of the kernel's bindings
   * @param groups number of workgroups, along x or along each dimension. A number over 65,535 becomes a grid of two
   *   dimensions: the kernel must compute its index from both and skip what is past the end, as `elementwise` does
   */
  run<Binding extends string, Param extends string>(
    kernel: Kernel<Binding, Param>,
    tensors: Record<Binding, Tensor>,
    params: Record<Param, number>,
    groups: number | readonly [number, number, number],
    constants: Constants = {},
  ): void {
    this.#throwIfDisposed();
    const bound = Object.keys(kernel.bindings).map((name) => tensors[name as Binding] as WebgpuTensor);
    const alias = aliases(kernel, bound);
    const pipeline = this.#pipeline(kernel, { dtypes: bound.map((t) => t.dtype), alias, constants });
    const windows = bound.map((_, b) => windowOf(bound.filter((_, o) => alias[o] === b)));

    if (this.#dispatches === MAX_DISPATCHES) this.flush();
    const base = (this.#dispatches * PARAMS_BYTES) / 4;
    let field = base;
    bound.forEach((t, b) => {
      this.#u32[field++] = (t.at - windows[alias[b]].from) / BYTES[t.dtype];
    });
    for (const [name, type] of Object.entries(kernel.params)) {
      (type === "f32" ? this.#f32 : this.#u32)[field++] = params[name as Param];
    }

    this.#encoder ??= this.gpu.createCommandEncoder();
    this.#pass ??= this.#encoder.beginComputePass();
    this.#pass.setPipeline(pipeline.pipeline);
    const group = this.#bindGroup(pipeline, bound, windows, alias);
    this.#pass.setBindGroup(0, group, [this.#dispatches * PARAMS_BYTES]);
    this.#pass.dispatchWorkgroups(...gridOf(groups));
    this.#dispatches++;
  }

  #pipeline(kernel: Kernel, variant: Variant): Pipeline {
    const { dtypes, alias, constants } = variant;
    const key = `${kernel.name} ${dtypes} ${alias} ${Object.entries(constants)}`;
    const cached = this.#pipelines.get(key);
    if (cached) return cached;
    const accesses = Object.values(kernel.bindings);
    const entries: GPUBindGroupLayoutEntry[] = [
      { binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { hasDynamicOffset: true } },
    ];
    accesses.forEach((_, b) => {
      if (alias[b] !== b) return;
      const writable = accesses.some((access, o) => alias[o] === b && access.startsWith("write"));
      const type = writable ? "storage" : "read-only-storage";
      entries.push({ binding: b + 1, visibility: GPUShaderStage.COMPUTE, buffer: { type } });
    });
    const label = kernel.name;
    const layout = this.gpu.createBindGroupLayout({ entries });
    const module = this.gpu.createShaderModule({ label, code: moduleCode(kernel, variant, this.tier) });
    const pipeline = this.gpu.createComputePipeline({
      label,
      layout: this.gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    });
    const created = { pipeline, layout, bindGroups: new Map() };
    this.#pipelines.set(key, created);
    return created;
  }

  #bindGroup(
    { layout, bindGroups }: Pipeline,
    bound: readonly WebgpuTensor[],
    windows: readonly Window[],
    alias: readonly number[],
  ): GPUBindGroup {
    let key = "";
    for (let b = 0; b < bound.length; b++) {
      if (alias[b] === b) key += `${bound[b].id}:${windows[b].from}+${windows[b].size} `;
    }
    let group = bindGroups.get(key);
    if (group) return group;
    const entries: GPUBindGroupEntry[] = [
      { binding: 0, resource: { buffer: this.#params, size: PARAMS_BYTES } },
    ];
    bound.forEach(({ buffer }, b) => {
      if (alias[b] !== b) return;
      const { from: offset, size } = windows[b];
      entries.push({ binding: b + 1, resource: { buffer, offset, size } });
    });
    group = this.gpu.createBindGroup({ layout, entries });
    bindGroups.set(key, group);
    for (const { id } of bound) this.#bound.get(id)?.push({ groups: bindGroups, key });
    return group;
  }

  /** Submits the recorded dispatches. */
  flush(): void {
    if (!this.#encoder) return;
    this.#pass?.end();
    this.gpu.queue.writeBuffer(this.#params, 0, this.#hostParams, 0, this.#dispatches * PARAMS_BYTES);
    this.gpu.queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.#pass = undefined;
    this.#dispatches = 0;
  }

  // ---- memory ----------------------------------------------------------------------------------------------

  alloc(shape: readonly number[], dtype: DType = "f32"): Tensor {
    this.#throwIfDisposed();
    if (dtype === "i8" && shape.length !== 2) {
      throw new RangeError(`alloc: i8 tensors have two dimensions, not [${shape}]`);
    }
    const size = elements(shape);
    // Kernels that read four elements at a time may read past the last element, to the end of its group of four.
    const bytes = Math.max(16, roundUp(size * BYTES[dtype], 16));
    const { maxBufferSize, maxStorageBufferBindingSize } = this.gpu.limits;
    const limit = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (bytes > limit) {
      throw new ReflowError(
        "memory",
        `a tensor [${shape}] needs ${bytes} bytes, but this GPU binds at most ${limit}`,
        "use a smaller --batch, --context or vocabulary, or --device wasm",
      );
    }
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.gpu.createBuffer({ size: bytes, usage });
    this.#allocated += bytes;
    this.#peak = Math.max(this.#peak, this.#allocated);
    const id = this.#buffers++;
    this.#bound.set(id, []);
    const scale = dtype === "i8" ? this.alloc([shape[0], Math.ceil(shape[1] / 32)]) : undefined;
    return { dtype, shape, size, buffer, bytes, id, at: 0, scale } as WebgpuTensor;
  }

  free(tensor: Tensor): void {
    const { buffer, bytes, id, scale } = tensor as WebgpuTensor;
    if (!this.#bound.has(id)) return;
    this.flush();
    for (const { groups, key } of this.#bound.get(id)!) groups.delete(key);
    this.#bound.delete(id);
    this.#allocated -= bytes;
    buffer.destroy();
    if (scale) this.free(scale);
  }

  view(tensor: Tensor, shape: readonly number[], offset = 0): Tensor {
    const size = elements(shape);
    const { dtype, buffer, bytes, id, at } = tensor as WebgpuTensor;
    checkShapes(dtype !== "i8" && offset >= 0 && offset + size <= tensor.size, "view", tensor, { shape });
    return { dtype, shape, size, buffer, bytes, id, at: at + offset * BYTES[dtype] } as WebgpuTensor;
  }

  /** Temporary memory between the kernels of one op, kept by name and replaced if too small. Its content is undefined. */
  scratch(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    const kept = this.#scratch.get(name);
    if (kept && kept.size >= elements(shape)) return this.view(kept, shape);
    if (kept) this.free(kept);
    const tensor = this.alloc(shape, dtype);
    this.#scratch.set(name, tensor);
    return tensor;
  }

  /** Writes of f16 and i8 must begin at a multiple of four bytes, and end at one or at the end of the tensor. */
  write(tensor: Tensor, values: HostArray, offset = 0): void {
    this.#throwIfDisposed();
    const { dtype, size, buffer, at } = tensor as WebgpuTensor;
    checkShapes(values instanceof ARRAYS[dtype], `write of a ${values.constructor.name}`, tensor);
    checkShapes(offset >= 0 && offset + values.length <= size, "read or write", tensor);
    const start = at + offset * BYTES[dtype];
    const whole = values.byteLength % 4 === 0;
    if (start % 4 !== 0 || !(whole || offset + values.length === size)) {
      throw new RangeError(
        `write: ${values.byteLength} bytes at byte ${start} are not whole words of four bytes`,
      );
    }
    // A queued write takes effect before everything that is submitted later.
    this.flush();
    let bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
    if (!whole) {
      const padded = new Uint8Array(roundUp(bytes.length, 4));
      padded.set(bytes);
      bytes = padded;
    }
    this.gpu.queue.writeBuffer(buffer, start, bytes);
  }

  /**
   * Waits for all earlier ops and copies values to the host.
   *
   * @throws ReflowError `device`, `memory` or `lost`: the first failure of any op
   */
  async read(tensor: Tensor, offset = 0, length = tensor.size - offset): Promise<HostArray> {
    this.#throwIfDisposed();
    const { dtype, size, buffer, at } = tensor as WebgpuTensor;
    checkShapes(offset >= 0 && length >= 0 && offset + length <= size, "read or write", tensor);
    if (this.#failure) throw this.#failure;
    const first = at + offset * BYTES[dtype];
    const from = first - (first % 4);
    const bytes = Math.max(4, roundUp(first + length * BYTES[dtype], 4) - from);
    const staging = this.#takeStaging(bytes);
    this.#pass?.end();
    this.#pass = undefined;
    this.#encoder ??= this.gpu.createCommandEncoder();
    this.#encoder.copyBufferToBuffer(buffer, from, staging, 0, bytes);
    this.flush();
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, bytes);
    } catch (cause) {
      throw this.#failure ?? lostError((cause as Error).message);
    }
    if (this.#failure) throw this.#failure;
    const values = staging.getMappedRange(0, bytes).slice(first - from);
    staging.unmap();
    this.#staging.push(staging);
    return new ARRAYS[dtype](values, 0, length);
  }

  #takeStaging(bytes: number): GPUBuffer {
    const fits = this.#staging.findIndex(({ size }) => size >= bytes);
    if (fits >= 0) return this.#staging.splice(fits, 1)[0];
    // No staging buffer is large enough: replace the unused ones.
    for (const small of this.#staging.splice(0)) small.destroy();
    const size = 2 ** Math.max(16, Math.ceil(Math.log2(bytes)));
    return this.gpu.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  }

  memory(): { allocated: number; peak: number } {
    return { allocated: this.#allocated, peak: this.#peak };
  }

  dispose(): void {
    this.#disposed = true;
    this.gpu.destroy();
  }
}

interface Window {
  from: number;
  size: number;
}

/** The part of a buffer that contains all of the given tensors, beginning at a multiple of ALIGNMENT. */
function windowOf(tensors: readonly WebgpuTensor[]): Window {
  if (tensors.length === 0) return { from: 0, size: 0 };
  let [first, end] = [Number.POSITIVE_INFINITY, 0];
  for (const { at, size, dtype, bytes } of tensors) {
    first = Math.min(first, at);
    end = Math.max(end, Math.min(bytes, roundUp(at + size * BYTES[dtype], 16)));
  }
  const from = first - (first % ALIGNMENT);
  return { from, size: end - from };
}

/** WebGPU allows one binding of a buffer that is written: all tensors in that buffer share it. See {@link Variant.alias}. */
function aliases(kernel: Kernel, bound: readonly WebgpuTensor[]): number[] {
  const written = Object.values(kernel.bindings).map((access) => access.startsWith("write"));
  return bound.map((tensor, b) => {
    const shared = bound.some((other, o) => other.id === tensor.id && written[o]);
    return shared ? bound.findIndex((other) => other.id === tensor.id) : b;
  });
}

function gridOf(groups: number | readonly [number, number, number]): [number, number, number] {
  if (typeof groups !== "number") return [...groups];
  const n = Math.max(1, Math.ceil(groups));
  if (n <= MAX_WORKGROUPS) return [n, 1, 1];
  const rows = Math.ceil(n / MAX_WORKGROUPS);
  return [Math.ceil(n / rows), rows, 1];
}

function lostError(reason: string): ReflowError {
  return new ReflowError(
    "lost",
    `the GPU was lost: ${reason}`,
    "try again; if it happens again, use a smaller --batch or --device wasm",
  );
}

function deviceError(error: GPUError): ReflowError {
  const message = error.message.trim();
  if (error instanceof GPUOutOfMemoryError) {
    return new ReflowError(
      "memory",
      `the GPU is out of memory: ${message}`,
      "use a smaller --batch, --context or --preset",
    );
  }
  return new ReflowError(
    "device",
    `the GPU rejected a command: ${message}`,
    "use --device wasm, and report this as a bug",
  );
}
