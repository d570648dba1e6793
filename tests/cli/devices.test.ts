import { expect, test } from "bun:test";
import { noAdapter } from "../support/webgpu.ts";
import { cli } from "./support.ts";

test("lists the CPU and every adapter, with its tier and how to select it", async () => {
  const { code, stdout } = await cli("devices", "--json");
  expect(code).toBe(0);
  const { devices, problem } = JSON.parse(stdout);
  expect(devices[0]).toMatchObject({ select: "wasm", backend: "wasm", build: "relaxed-shared" });
  expect(Boolean(problem)).toBe(Boolean(noAdapter));
  for (const [i, gpu] of devices.slice(1).entries()) {
    expect(gpu).toMatchObject({ backend: "webgpu", select: `webgpu:${i}`, tiers: { f32: {}, f16: {} } });
    expect(gpu.features).toBeArray();
    expect(gpu.limits.maxBufferSize).toBeGreaterThan(2 ** 27);
    expect(gpu.tiers.f32.tier).toStartWith("f32 products");
  }
});

test("text output fits 80 columns", async () => {
  const { code, stdout } = await cli("devices");
  expect(code).toBe(0);
  expect(stdout).toStartWith("--device wasm: CPU, relaxed-shared, ");
  if (noAdapter) expect(stdout).toContain("no WebGPU: ");
  else expect(stdout).toContain("--device webgpu:0: ");
  for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
});
