import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { bundle } from "./bundle.ts";
import { type Files, filesIn, launchChromium, noChromium, visit } from "./chromium.ts";
import { type Trial, tryDevice } from "./trial.ts";

describe.skipIf(noChromium !== undefined)(`a plain page${noChromium ? `: ${noChromium}` : ""}`, () => {
  let browser: Browser;
  let files: Files;
  let expected: Trial;

  beforeAll(async () => {
    const checkpoint = join(temporaryFolder(), "tiny");
    await writeTinyCheckpoint(checkpoint);
    expected = await tryDevice(checkpoint, { device: "wasm", threads: 2 });
    files = {
      ...(await bundle("page.ts")),
      ...filesIn(checkpoint, "/models/tiny"),
      "/": Bun.file(join(import.meta.dir, "page.html")),
    };
    browser = await launchChromium();
  }, 120_000);
  afterAll(() => browser?.close());

  test("the reference run in Bun reduces the loss", () => {
    expect(expected.losses).toHaveLength(10);
    expect(expected.losses[9]).toBeLessThan(0.7 * expected.losses[0]);
    expect(expected.trained).toContain("the");
    expect(expected.sampled).toHaveLength(8);
  });

  for (const [query, isolated, device, tolerance] of [
    ["wasm", true, "wasm (relaxed-shared, 2 threads)", 1e-5],
    ["wasm", false, "wasm (relaxed-plain, 1 thread)", 1e-5],
    ["webgpu", false, "webgpu (", 1e-3],
  ] as const) {
    test(`trains ten steps and samples like the reference run: ${device}`, async () => {
      const { report, problems } = await visit<Trial>(browser, files, `/?${query}`, { isolated });
      expect(problems).toEqual([]);
      expect(report.device).toContain(device);
      const errors = expected.losses.map((loss, i) => Math.abs(report.losses[i] / loss - 1));
      expect(Math.max(...errors)).toBeLessThan(tolerance);
      expect(report.trained).toBe(expected.trained);
      expect(report.sampled).toEqual(expected.sampled);
    }, 300_000);
  }

  test("a missing worker or missing kernels are reported as an error", async () => {
    for (const [missing, message] of [
      ["worker.js", /a worker thread did not start: http.*worker\.js cannot be loaded/],
      ["relaxed-shared.wasm", /the WASM kernels \(relaxed-shared\) cannot be loaded: http.*: HTTP 404/],
    ] as const) {
      const { [`/reflow/${missing}`]: _, ...rest } = files;
      const failure = visit(browser, rest, "/?wasm", { isolated: true }).catch(
        ({ message }: Error) => message,
      );
      expect(await failure).toMatch(message);
    }
  }, 60_000);
});
