import { ReflowError } from "../common/errors.ts";
import type { Backend } from "./contract/backend.ts";
import { type DeviceName, isDeviceName } from "./contract/device-name.ts";
import { createWasmBackend, type WasmOptions } from "./wasm/mod.ts";
import { mayHaveGpu } from "./webgpu/device/drivers.ts";
import type { Precision } from "./webgpu/device/tier.ts";

export interface BackendOptions extends Pick<WasmOptions, "threads" | "assets" | "module"> {
  /** Precision of matrix products on WebGPU: `f16` is faster if the GPU supports it. Default: `f32`. */
  precision?: Precision;
}

/**
 * Starts a backend.
 *
 * @throws ReflowError `usage` for an unknown name, `device` if the device is not available
 * @example
 * const backend = await createBackend("webgpu:1");
 */
export async function createBackend(name: DeviceName, options: BackendOptions = {}): Promise<Backend> {
  if (!isDeviceName(name)) {
    throw new ReflowError("usage", `no device "${name}"`, "use auto, wasm, webgpu or webgpu:N");
  }
  const { threads, assets, module, precision } = options;
  const device = name === "auto" && (await hasGpu()) ? "webgpu" : name;
  if (!device.startsWith("webgpu")) return createWasmBackend({ threads, assets, module });
  const { createWebgpuBackend } = await import("./webgpu/mod.ts");
  const index = device.split(":")[1];
  return createWebgpuBackend({ precision, ...(index && { adapter: Number(index) }) });
}

/** Whether there is an adapter that is not a software renderer: those run on the CPU, slower than our own kernels. */
async function hasGpu(): Promise<boolean> {
  if (!(await mayHaveGpu())) return false;
  try {
    const { requestAdapter } = await import("./webgpu/device/adapters.ts");
    return !(await requestAdapter()).info.isFallbackAdapter;
  } catch {
    return false;
  }
}
