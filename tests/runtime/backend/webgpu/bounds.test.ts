/** Dawn runs without bounds checks: for every shape, kernels must not access memory outside their bindings. */
import { describe, expect, test } from "bun:test";
import { requestAdapter } from "../../../../runtime/backend/webgpu/device/adapters.ts";
import { elementwise } from "../../../../runtime/backend/webgpu/device/kernel.ts";
import { FEATURES, possibleTiers } from "../../../../runtime/backend/webgpu/device/tier.ts";
import { WebgpuBackend } from "../../../../runtime/backend/webgpu/mod.ts";
import { countViolations } from "../../../support/bounds.ts";
import { noAdapter } from "../../../support/webgpu.ts";
import { opSuite } from "../op-suite.ts";

async function openCounting() {
  const { features, info, limits } = await requestAdapter();
  const adapter = await requestAdapter();
  const gpu = await adapter.requestDevice({
    requiredFeatures: FEATURES.filter((name) => features.has(name)) as GPUFeatureName[],
    requiredLimits: { maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage },
  });
  const violations = countViolations(gpu);
  const backend = new WebgpuBackend(gpu, possibleTiers({ features, info }, "f32").tiers[0], "counted");
  return { backend, violations, dispose: () => backend.dispose() };
}

if (noAdapter) test.skip(`bounds: ${noAdapter}`, () => {});
else {
  test("an access past the end is counted, in buffers and in workgroup memory", async () => {
    const { backend, violations, dispose } = await openCounting();
    const x = backend.alloc([8]);
    const past = elementwise("past", { x: "write" }, "  set_x(i + p.by, 1.0);", { by: "u32" });
    const run = (by: number) => backend.run(past, { x }, { size: 8, by }, 1);
    run(0);
    expect(await violations()).toEqual({});
    run(3);
    expect(await backend.read(x)).toEqual(new Float32Array(8).fill(1));
    expect(await violations()).toEqual({ past: 3 });

    const shared = {
      ...elementwise("shared", { x: "write" }, ""),
      code: () => `
var<workgroup> few: array<f32, 2u * 4u>;
@compute @workgroup_size(16)
fn main(@builtin(local_invocation_index) i: u32) { few[i] = x(min(i, 7u)); set_x(0u, few[0]); }`,
    };
    backend.run(shared, { x }, { size: 8 }, 1);
    await backend.read(x);
    expect(await violations()).toEqual({ past: 3, shared: 8 });
    dispose();
  });

  describe("no access past the end", () => {
    const opened: Awaited<ReturnType<typeof openCounting>>[] = [];
    opSuite(
      "webgpu, counted",
      async () => {
        const each = await openCounting();
        // The device is disposed of after the counts are read.
        const { dispose } = each.backend;
        each.backend.dispose = () => {};
        opened.push({ ...each, dispose: () => dispose.call(each.backend) });
        return each.backend;
      },
      { runs: 4 },
    );
    test("no violations were counted", async () => {
      expect(opened).not.toBeEmpty();
      for (const { violations, dispose } of opened) {
        expect(await violations()).toEqual({});
        dispose();
      }
    });
  });
}
