/** Assigns a device and a number of threads to each rank of a job. */
import { availableParallelism } from "node:os";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { mayHaveGpu } from "../../runtime/backend/webgpu/device/drivers.ts";

/** Software renderers of Vulkan and Direct3D, which run on the CPU and are slower than our own kernels. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;

/** The numbers N for which `webgpu:N` is a GPU. */
async function listGpus(): Promise<number[]> {
  if (!(await mayHaveGpu())) return [];
  const { listAdapters } = await import("../../runtime/backend/webgpu/device/adapters.ts");
  // Listing fails without a driver; the run then uses the CPU, as on a machine without a GPU.
  const adapters = await listAdapters().catch(() => []);
  return adapters.flatMap(({ name }, index) => (SOFTWARE.test(name) ? [] : [index]));
}

/** The number of ranks for `--world auto`: one per GPU, unless `--device` selects a specific device. */
export async function countRanks(device: DeviceName): Promise<number> {
  return device === "auto" || device === "webgpu" ? Math.max(1, (await listGpus()).length) : 1;
}

/**
 * The device of each rank on this machine. `auto` becomes the GPUs in round-robin order, or the CPU if there are none.
 *
 * @param ranks the number of ranks on this machine
 */
export async function assignDevices(device: DeviceName, ranks: number): Promise<DeviceName[]> {
  const everywhere = (name: DeviceName) => Array<DeviceName>(ranks).fill(name);
  if (device !== "auto" && device !== "webgpu") return everywhere(device);
  const gpus = await listGpus();
  if (gpus.length === 0) return everywhere(device === "auto" ? "wasm" : "webgpu");
  if (ranks === 1) return ["webgpu"];
  return Array.from({ length: ranks }, (_, rank): DeviceName => `webgpu:${gpus[rank % gpus.length]}`);
}

/** The threads of each rank when all cores are divided equally between the ranks of this machine. */
export const threadsPerRank = (ranks: number): number =>
  Math.max(1, Math.floor(availableParallelism() / ranks));
