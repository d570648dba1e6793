import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { type BackendOptions, createBackend } from "../../runtime/backend/create.ts";
import * as wasm from "../../runtime/backend/wasm/measure.ts";
import { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import type { Tier } from "../../runtime/backend/webgpu/device/tier.ts";
import * as webgpu from "../../runtime/backend/webgpu/measure.ts";
import type { WebgpuBackend } from "../../runtime/backend/webgpu/mod.ts";
import { type ModelConfig, resolveConfig } from "../../runtime/config/config.ts";
import { PRESETS } from "../../runtime/config/presets.ts";
import type { Clock, RateSampler, SamplingBudget } from "./measure.ts";

/** Determines the size of the benchmarks. A fallback adapter is a software renderer, about a thousand times slower than a GPU. */
export type DeviceKind = "cpu" | "gpu" | "fallback";

/** Config of a preset; on a fallback adapter, one block and a small vocabulary. */
export const benchConfig = (kind: DeviceKind, preset: string): ModelConfig =>
  resolveConfig(PRESETS[preset], kind === "fallback" ? { n_layers: 1, vocab_size: 512 } : {});

/** An operation that can be run repeatedly, and its memory. */
export interface Workload {
  run(): void;
  free(): void;
}

/** A backend to benchmark: how to time it, and the peak rates of its device. */
export interface BenchDevice {
  readonly backend: Backend;
  /** Remarks on the device, one per line, in addition to the backend's description. */
  readonly notes: readonly string[];
  readonly kind: DeviceKind;
  /** Precision of matrix products. */
  readonly products: Tier["matmul"];
  /** CPU threads; absent on a GPU. */
  readonly threads?: number;
  readonly clock: Clock;
  readonly budget: SamplingBudget;
  /** Peak arithmetic rate (multiply-adds only) in operations per second. */
  readonly roof: RateSampler;
  /** A workload that reads `bytes` of memory with little arithmetic. */
  read(bytes: number): Workload;
  /** A workload that bounds the speed of decoding with `bytes` of int8 weights. */
  decodeRoof(bytes: number): Workload;
}

/**
 * Opens the backends to benchmark: for a CPU, one with a single thread and one with all threads.
 *
 * @throws ReflowError `device` if the device is not available
 */
export async function openBenchDevices(
  device: DeviceName,
  options: Pick<BackendOptions, "threads" | "precision">,
): Promise<BenchDevice[]> {
  const backend = await createBackend(device, options);
  if (!(backend instanceof WasmBackend)) return [gpuDevice(backend as WebgpuBackend)];
  if (backend.threads === 1) return [cpuDevice(backend)];
  const one = (await createBackend("wasm", { threads: 1 })) as WasmBackend;
  return [cpuDevice(one), cpuDevice(backend)];
}

function cpuDevice(backend: WasmBackend): BenchDevice {
  return {
    backend,
    notes: [],
    kind: "cpu",
    products: "f32",
    threads: backend.threads,
    // CPU ops are synchronous.
    clock: { synchronize: async () => {}, minSeconds: 0 },
    budget: { seconds: 3, rounds: 5 },
    roof: () => wasm.measureRoof(backend),
    read: (bytes) => wasm.readRun(backend, bytes),
    decodeRoof: (bytes) => wasm.bareDotRun(backend, bytes),
  };
}

function gpuDevice(backend: WebgpuBackend): BenchDevice {
  const { vendor, architecture, device, description, isFallbackAdapter: fallback } = backend.gpu.adapterInfo;
  const adapter = [vendor, architecture, device, description].filter(Boolean).join(", ");
  const fallbackNote =
    "software renderer: small products and one-block models; results are not representative of a GPU";
  const fence = backend.alloc([1]);
  const read = (bytes: number) => readOnGpu(backend, bytes);
  return {
    backend,
    notes: [`adapter: ${adapter}`, ...backend.reasons, ...(fallback ? [fallbackNote] : [])],
    kind: fallback ? "fallback" : "gpu",
    products: backend.tier.matmul,
    clock: {
      synchronize: async () => void (await backend.read(fence)),
      minSeconds: fallback ? 0 : 0.05,
    },
    budget: fallback ? { seconds: 0, rounds: 1 } : { seconds: 3, rounds: 5 },
    roof: () => webgpu.measureRoof(backend),
    read,
    // With one sequence, matrix products are bound by the bandwidth of reading weights.
    decodeRoof: read,
  };
}

/** Uses the global norm, the op with the least arithmetic per byte read. */
function readOnGpu(backend: Backend, bytes: number): Workload {
  const memory = backend.alloc([Math.floor(bytes / 4)]);
  const norm = backend.alloc([1]);
  return {
    run: () => backend.globalNorm(norm, [memory]),
    free: () => {
      for (const tensor of [memory, norm]) backend.free(tensor);
    },
  };
}
