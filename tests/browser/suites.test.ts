import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { OP_PROPERTIES } from "../runtime/backend/op-properties.ts";
import { ORACLE_CASES } from "../runtime/transformer/oracle-suite.ts";
import { bundle, html, shims } from "./bundle.ts";
import { type Files, filesIn, launchChromium, noChromium, visit } from "./chromium.ts";
import type { Report } from "./suites.ts";

const MIN_RESULTS = Object.values(OP_PROPERTIES).flat().length + 2 * ORACLE_CASES.length;

describe.skipIf(noChromium !== undefined)(
  `the suites in Chromium${noChromium ? `: ${noChromium}` : ""}`,
  () => {
    let browser: Browser;
    let files: Files;

    beforeAll(async () => {
      browser = await launchChromium();
      files = {
        ...(await bundle("suites.ts", [shims])),
        ...filesIn(fileURLToPath(new URL("../fixtures", import.meta.url)), "/fixtures"),
        "/": html("/suites.js"),
      };
    }, 120_000);
    afterAll(() => browser?.close());

    for (const [title, query, isolated, device] of [
      ["WASM, two threads in an isolated page", "wasm", true, /^wasm \(relaxed-shared, 2 threads\)$/],
      [
        "WASM, one thread in a page that is not isolated",
        "wasm",
        false,
        /^wasm \(relaxed-plain, 1 thread\)$/,
      ],
      ["WebGPU", "webgpu", false, /^webgpu \(/],
    ] as const) {
      test(title, async () => {
        const { report, problems } = await visit<Report>(browser, files, `/?${query}`, { isolated });
        const failed = report.results.filter(({ error }) => error !== undefined);
        expect([...failed.map(({ name, error }) => `${name}: ${error}`), ...problems]).toEqual([]);
        expect(report.device).toMatch(device);
        expect(report.results.length).toBeGreaterThan(MIN_RESULTS);
      }, 300_000);
    }
  },
);
