/**
 * Parses and validates the kernels of all tiers on Dawn's null backend, which computes nothing but has every feature: most
 * machines support only some tiers.
 */
import { describe, expect, test } from "bun:test";
import type { DType, MatmulOptions } from "../../../../runtime/backend/contract/backend.ts";
import { WebgpuDevice } from "../../../../runtime/backend/webgpu/device/device.ts";
import { FEATURES, PORTABLE, type Tier } from "../../../../runtime/backend/webgpu/device/tier.ts";
import { linears, matmul } from "../../../../runtime/backend/webgpu/kernels/matmul.ts";
import { multiplyTiles, peaksOf } from "../../../../runtime/backend/webgpu/kernels/matmul-many-rows.ts";
import { LARGE, SMALL } from "../../../../runtime/backend/webgpu/kernels/matmul-tiled.ts";

const { create, globals } = await import("webgpu");
Object.assign(globalThis, globals);
const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
// If it is garbage-collected, the process crashes: this global keeps it reachable.
(globalThis as { nullGpu?: GPU }).nullGpu = gpu;

const F16 = { subgroups: true, matmul: "f16", enables: ["f16", "subgroups"] } as const;
const TIERS: Record<string, Tier> = {
  portable: PORTABLE,
  f16: F16,
  // The sizes of NVIDIA, of Intel, and the smallest.
  ...Object.fromEntries(
    [
      { M: 16, N: 16, K: 16 },
      { M: 8, N: 16, K: 16 },
      { M: 8, N: 8, K: 8 },
    ].map((matrix) => [
      `subgroup-matrix ${Object.values(matrix).join("×")}`,
      {
        subgroups: true,
        matmul: "subgroup-matrix",
        matrix,
        enables: [...F16.enables, "chromium_experimental_subgroup_matrix"],
      },
    ]),
  ),
};

const TRANSPOSITIONS = [false, true].flatMap((transA) =>
  [false, true].map((transB): MatmulOptions => ({ transA, transB, accumulate: transA })),
);

/** The validation error of the commands that `run` records, if any. */
async function errorsOf(tier: Tier, run: (device: WebgpuDevice) => void): Promise<string | undefined> {
  const adapter = (await gpu.requestAdapter())!;
  const native = await adapter.requestDevice({ requiredFeatures: [...FEATURES] as GPUFeatureName[] });
  const device = new WebgpuDevice(native, tier, "null");
  native.pushErrorScope("validation");
  run(device);
  device.flush();
  const error = await native.popErrorScope();
  device.dispose();
  return error?.message;
}

describe.each(Object.entries(TIERS))("tier %s", (_, tier) => {
  // Rows that are multiples of four elements, and rows that are not.
  test.each([64, 63])("products of all layouts, %i wide", async (size) => {
    const error = await errorsOf(tier, (device) => {
      const [out, a, b] = [1, 2, 3].map(() => device.alloc([size, size]));
      for (const options of TRANSPOSITIONS) {
        matmul(device, out, a, b, options);
        if (tier.matmul === "subgroup-matrix") continue;
        const peaks = tier.matmul === "f16" ? peaksOf(device, a) : undefined;
        for (const tile of [SMALL, LARGE]) {
          multiplyTiles(device, out, a, b, { ...options, factors: tier.matmul, peaks, tile });
        }
      }
    });
    expect(error).toBeUndefined();
  });

  test.each(["f32", "f16", "i8"] as DType[])("%s weights, of few and of many rows", async (dtype) => {
    const error = await errorsOf(tier, (device) => {
      for (const [M, K] of [
        [3, 64],
        [8, 63],
        [9, 64],
        [9, 63],
      ]) {
        const weights = [40, 5000].map((N) => device.alloc([N, K], dtype));
        const outs = weights.map(({ shape }) => device.alloc([M, shape[0]]));
        linears(device, outs, device.alloc([M, K]), weights);
      }
    });
    expect(error).toBeUndefined();
  });

  test("an invalid kernel is detected", async () => {
    const error = await errorsOf({ ...tier, enables: ["f17"] }, (device) => {
      const [out, a, b] = [1, 2, 3].map(() => device.alloc([9, 9]));
      matmul(device, out, a, b);
    });
    expect(error).toContain("f17");
  });
});
