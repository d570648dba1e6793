import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { type BackendOptions, createBackend } from "../../runtime/backend/create.ts";
import * as wasm from "../../runtime/backend/wasm/measure.ts";
import { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import type { Tier } from "../../runtime/backend/webgpu/device/tier.ts";
import * as webgpu from "../../runtime/backend/webgpu/measure.ts";
import type { WebgpuBackend } from "../../runtime/backend/webgpu/mod.ts";
import { type ModelConfig, PRESETS, resolveConfig } from "../../runtime/config/config.ts";
import type { Clock, RateSampler, SamplingBudget } from "./measure.ts";

/** What decides how much work a row can be: a fallback adapter is a CPU in disguise, a thousand times slower than a GPU. */
export type DeviceKind = "cpu" | "gpu" | "fallback";

/** A preset's model; on a CPU in disguise a single block of it, over few tokens. */
export const benchConfig = (kind: DeviceKind, preset: string): ModelConfig =>
  resolveConfig(PRESETS[preset], kind === "fallback" ? { n_layers: 1, vocab_size: 512 } : {});

/** An op that is run again and again. */
export interface Workload {
  run(): void;
  free(): void;
}

/** A backend, how to time it, and what its device can do at most. */
export interface BenchDevice {
  readonly backend: Backend;
  /** What is to be known of the device, a line each, beside the backend's own description. */
  readonly notes: readonly string[];
  readonly kind: DeviceKind;
  /** What products are made of. */
  readonly products: Tier["matmul"];
  /** Of a CPU. */
  readonly threads?: number;
  readonly clock: Clock;
  readonly budget: SamplingBudget;
  /** Multiply-adds and nothing else, in operations a second. */
  readonly roof: RateSampler;
  /** Reads `bytes` of memory and does next to nothing with them. */
  read(bytes: number): Workload;
  /** What decoding over `bytes` of int8 weights can't be faster than. */
  decodeRoof(bytes: number): Workload;
}

/**
 * What is measured on a device: of a CPU one thread and all of them.
 *
 * @throws ReflowError `device` where there is none
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
    // Ops are done when they return.
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
  const disguise =
    "a CPU in disguise: small products, models of one block, and figures that say nothing of a GPU";
  const fence = backend.alloc([1]);
  const read = (bytes: number) => readOnGpu(backend, bytes);
  return {
    backend,
    notes: [`adapter: ${adapter}`, ...backend.reasons, ...(fallback ? [disguise] : [])],
    kind: fallback ? "fallback" : "gpu",
    products: backend.tier.matmul,
    clock: {
      synchronize: async () => void (await backend.read(fence)),
      minSeconds: fallback ? 0 : 0.05,
    },
    budget: fallback ? { seconds: 0, rounds: 1 } : { seconds: 3, rounds: 5 },
    roof: () => webgpu.measureRoof(backend),
    read,
    // With one sequence, products take as long as their weights take to read.
    decodeRoof: read,
  };
}

/** The op that reads most for what it does is the norm. */
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
