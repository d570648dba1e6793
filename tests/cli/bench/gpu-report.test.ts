import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requestAdapter } from "../../../runtime/backend/webgpu/device/adapters.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { type Result, refusal, textOf } from "../support.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));

async function report(env: Record<string, string>, ...args: string[]): Promise<Result> {
  const command = [process.execPath, "cli/bench/gpu-report.ts", ...args];
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout, child.stderr].map(textOf));
  return { code: await child.exited, stdout, stderr };
}

test("reports a missing GPU", async () => {
  // With these variables the Vulkan loader finds no driver.
  const hidden = { VK_DRIVER_FILES: "/dev/null", VK_ICD_FILENAMES: "/dev/null" };
  expect(refusal(await report(hidden))).toStartWith("error: no GPU available: ");
}, 30_000);

interface Report {
  adapter: string;
  f32: unknown[];
  f16: unknown[];
  peak: unknown;
  verdicts: { precision: string; measured: number; target: number }[];
}

const isFallback = !noAdapter && (await requestAdapter()).info.isFallbackAdapter;

test.skipIf(!isFallback)(
  "--tiny runs the whole script on a software renderer",
  async () => {
    const out = join(temporaryFolder(), "report.json");
    const { code, stdout, stderr } = await report({}, "--tiny", "--out", out);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[1-9]\d* tests pass, 0 fail$/m);
    expect(stdout).toMatch(/^gemm\/nn\/128 f32 .* (not )?met/m);
    const { adapter, f32, f16, peak, verdicts } = JSON.parse(readFileSync(out, "utf8")) as Report;
    expect(adapter).toBeString();
    expect(f32).toContainEqual(expect.objectContaining({ name: "train-step/nano" }));
    expect(f16).toEqual([]); // SwiftShader does not support f16
    expect(peak).toEqual({ peak: expect.any(Number), source: "measured" });
    expect(verdicts.map(({ precision, measured, target }) => [precision, measured > 0, target > 0])).toEqual([
      ["f32", true, true],
      ["f16", false, true],
      ["f32", true, true],
      ["f16", false, true],
    ]);
  },
  120_000,
);
