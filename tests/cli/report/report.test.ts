import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { renderComparison } from "../../../cli/report/comparison.ts";
import { markup } from "../../../cli/report/markup/html.ts";
import { renderReport } from "../../../cli/report/report.ts";
import { encodeResults, type Results, readResults } from "../../../cli/report/results.ts";
import { checkOutputFolder, writeFiles } from "../../../cli/shared/output.ts";
import { launchChromium, noChromium } from "../../browser/chromium.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { HOSTILE, RESULTS } from "./fixture.ts";

const report = renderReport(RESULTS);
const both = [
  { name: "runs/a/probes", results: RESULTS },
  { name: HOSTILE, results: { ...RESULTS, results: RESULTS.results.slice(0, 3) } },
] as const;
const comparison = renderComparison(both);

describe("the page", () => {
  test("shows the observation, null and verdict of each claim", () => {
    expect(report).toContain("<strong>3 of 5 claims hold</strong>");
    const text = report.replace(/<[^>]*>/g, "");
    expect(text).toContain(
      "Observed 0.228 (95% interval 0.188 to 0.267); null (permuted categories, 999 draws): −0.118 ± 0.0094. " +
        "The distance is 37 standard deviations. p = 0.001, corrected for 22 claims: 0.022.",
    );
    expect(text).toContain("The effect lies on the side opposite to the claim.");
    expect(text).toContain(
      "Uncorrected it would pass, but among this many claims some reach this by chance.",
    );
    expect(text).toContain("All draws are equal.");
    expect(text).toContain("Not applicable: an unfactored model has no basis.");
    expect(text).toContain("2 claims were not tested");
    expect(report.match(/verdict holds/g)!.length).toBe(2 + 3); // in sections (none for the seeds) and in the table
  });

  test("rendering is deterministic, also after a round trip through the file", () => {
    expect(renderReport(structuredClone(RESULTS))).toBe(report);
    const file = join(temporaryFolder({ "results.json": encodeResults(RESULTS) }), "results.json");
    // JSON escapes lone surrogates, so they survive the round trip.
    expect(readResults(file)).toEqual(RESULTS);
    expect(renderReport(readResults(file))).toBe(report);
    expect(renderComparison(structuredClone(both) as unknown as typeof both)).toBe(comparison);
  });

  test("escapes token text", () => {
    expect(markup`${HOSTILE}`.text).toBe(
      "&lt;/text&gt;&lt;/td&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&lt;img src=x onerror=&#39;alert(2)&#39;&gt;&amp;amp;" +
        "]]&gt;--&gt;&lt;!-- \ufffd\ufffd\ufffd",
    );
    for (const html of [report, comparison]) {
      expect(html).not.toMatch(/<script|<img|\0|\u202e/);
      expect(html.isWellFormed()).toBe(true);
    }
  });

  test("has no external references", () => {
    for (const html of [report, comparison]) {
      expect(html).not.toMatch(/https?:|url\(|@import|srcset|<link rel="stylesheet"/);
    }
  });
});

describe("files", () => {
  test("writes all files or none, and leaves no temporary files", () => {
    const root = temporaryFolder({ "there/a.txt": "old", file: "" });
    const there = join(root, "there");
    writeFiles(there, { "a.txt": "new", "b.txt": "b" });
    expect(readFileSync(join(there, "a.txt"), "utf8")).toBe("new");
    expect(readdirSync(there).sort()).toEqual(["a.txt", "b.txt"]);
    writeFiles(join(root, "x/y"), { c: "c" });
    expect(readdirSync(join(root, "x/y"))).toEqual(["c"]);
    mkdirSync(join(there, "folder/inside"), { recursive: true });
    expect(() => writeFiles(there, { "none/c.txt": "c" })).toThrow();
    expect(() => writeFiles(join(root, "file/new"), { c: "c" })).toThrow();
    expect(() => writeFiles(join(root, "made/here"), { "none/c": "c" })).toThrow();
    expect(readdirSync(root).sort()).toEqual(["file", "there", "x"]);
    expect(readdirSync(there).sort()).toEqual(["a.txt", "b.txt", "folder"]);
    expect(() => checkOutputFolder(join(root, "file/new"))).toThrow("is not a folder");
    checkOutputFolder(join(root, "new/folder"));
  });

  test("rejects files that are not results", () => {
    const root = temporaryFolder({ "results.json": "{}", bad: "{", list: "null" });
    expect(() => readResults(root)).toThrow("not probe results");
    expect(() => readResults(join(root, "bad"))).toThrow("JSON");
    expect(() => readResults(join(root, "list"))).toThrow("not probe results");
    expect(() => readResults(join(root, "none"))).toThrow("no such file");
  });
});

describe.skipIf(noChromium !== undefined)(`in Chromium${noChromium ? `: ${noChromium}` : ""}`, () => {
  let browser: Browser;
  const folder = temporaryFolder({ "report.html": report, "compare.html": comparison });
  beforeAll(async () => {
    browser = await launchChromium();
  }, 120_000);
  afterAll(() => browser?.close());

  for (const file of ["report.html", "compare.html"]) {
    test(`${file} opens without errors or requests, and fits the window`, async () => {
      for (const [width, colorScheme] of [
        [1280, "light"],
        [390, "dark"],
      ] as const) {
        const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
        const problems: string[] = [];
        const requests: string[] = [];
        page.on("console", (message) => problems.push(message.text()));
        page.on("pageerror", (error) => problems.push(String(error)));
        page.on("dialog", (dialog) => problems.push(dialog.message()));
        page.on("request", (request) => requests.push(request.url()));
        const address = pathToFileURL(join(folder, file)).href;
        await page.goto(address);
        const seen = await page.evaluate(() => {
          for (const details of document.querySelectorAll("details")) details.open = true;
          const parser = new DOMParser();
          const drawings = [...document.querySelectorAll("svg")].map((svg) =>
            new XMLSerializer().serializeToString(svg),
          );
          return {
            width: document.documentElement.scrollWidth,
            drawings: drawings.length,
            broken: drawings.filter((text) =>
              parser.parseFromString(text, "image/svg+xml").querySelector("parsererror"),
            ),
            strangers: document.querySelectorAll("script, img, iframe, object").length,
            dangling: [...document.querySelectorAll('a[href^="#"]')]
              .map((link) => link.getAttribute("href")!.slice(1))
              .filter((id) => !document.getElementById(id)),
            paper: getComputedStyle(document.body).backgroundColor,
          };
        });
        await page.close();
        expect(problems).toEqual([]);
        expect(requests.filter((url) => url !== address && !url.startsWith("data:"))).toEqual([]);
        expect(seen).toMatchObject({ width, broken: [], strangers: 0 });
        expect(seen.drawings).toBeGreaterThan(15);
        expect(seen.paper).toBe(colorScheme === "light" ? "rgb(255, 255, 255)" : "rgb(22, 23, 24)");
      }
    }, 60_000);
  }
});

test("results contain no times or paths", () => {
  const keys = Object.keys(JSON.parse(encodeResults(RESULTS)) as Results);
  expect(keys).toEqual(["format", "model", "trained", "beside", "text", "results", "certificate"]);
});
