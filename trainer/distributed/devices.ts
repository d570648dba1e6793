/** Which device each rank of a job computes on, and on how many threads. */
import { availableParallelism } from "node:os";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { mayHaveGpu } from "../../runtime/backend/webgpu/device/drivers.ts";

/** Vulkan's and Direct3D's drivers without a GPU: slower than our own kernels. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;

/** N of each `webgpu:N` that is a GPU. */
async function listGpus(): Promise<number[]> {
  if (!(await mayHaveGpu())) return [];
  const { listAdapters } = await import("../../runtime/backend/webgpu/device/adapters.ts");
  // Without a driver there is none, and a run on the CPU is as good as where there is no GPU.
  const adapters = await listAdapters().catch(() => []);
  return adapters.flatMap(({ name }, index) => (SOFTWARE.test(name) ? [] : [index]));
}

/** `--world auto`: a rank for each GPU, where the device isn't chosen. */
export async function countRanks(device: DeviceName): Promise<number> {
  return device === "auto" || device === "webgpu" ? Math.max(1, (await listGpus()).length) : 1;
}

/**
 * What the ranks of a machine compute on. `auto` is settled: on GPUs, by turns, or on the CPU where there is none.
 *
 * @param ranks of this machine
 */
export async function assignDevices(device: DeviceName, ranks: number): Promise<DeviceName[]> {
  const everywhere = (name: DeviceName) => Array<DeviceName>(ranks).fill(name);
  if (device !== "auto" && device !== "webgpu") return everywhere(device);
  const gpus = await listGpus();
  if (gpus.length === 0) return everywhere(device === "auto" ? "wasm" : "webgpu");
  if (ranks === 1) return ["webgpu"];
  return Array.from({ length: ranks }, (_, rank): DeviceName => `webgpu:${gpus[rank % gpus.length]}`);
}

/** Every core, shared out. */
export const threadsOf = (ranks: number): number => Math.max(1, Math.floor(availableParallelism() / ranks));
