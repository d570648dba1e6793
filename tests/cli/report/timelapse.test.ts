import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { renderTimelapse } from "../../../cli/report/timelapse.ts";
import type { WatchLine } from "../../../trainer/monitoring/watch.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { cli, refused } from "../support.ts";
import { HOSTILE } from "./fixture.ts";

/** Recipes that move from one axis to another, by a quarter at each evaluation. */
const turned = (from: number, to: number, share: number): number[] =>
  Array.from({ length: 16 }, (_, s) => (s === from ? 1 - share : 0) + (s === to ? share : 0));

const token = (word: string, recipe: number[]): WatchLine["tokens"][number] => ({
  word,
  recipe,
  recipes: [["prince", 0.6123]],
  embeddings: [
    ["queen", 0.7512],
    [HOSTILE, 0.5],
  ],
});

const lines: WatchLine[] = [0, 0.25, 0.5, 0.75, 1].map((share, i) => ({
  step: 100 * i,
  ...(i > 0 && { valLoss: 5 - share }),
  tokens: [token("king", turned(0, 2, share)), token("queen", turned(1, 2, share))],
}));

/** The cells of the first table of a figure. */
function cells(html: string, title: string): string[][] {
  const figure = html.slice(html.indexOf(`<h3>${title}</h3>`));
  const [body] = figure.slice(0, figure.indexOf("</figure>")).match(/<tbody>.*?<\/tbody>/s)!;
  return [...body.matchAll(/<tr>(.*?)<\/tr>/gs)].map(([, row]) =>
    [...row.matchAll(/<td[^>]*>(.*?)<\/td>/gs)].map(([, text]) => text),
  );
}

test("shows cosines between words and with final recipes, signals, and neighbours", () => {
  const html = renderTimelapse(lines);
  expect(html).toContain("<h1>How king and queen formed</h1>");
  expect(html).toContain("5 evaluations of a model in training, from step 0 to step 400.");
  // At (.75, .25), the shared part is 1/16 of 10/16.
  expect(cells(html, "Similarity of word pairs")).toEqual([
    ["0", "0.000"],
    ["100", "0.100"],
    ["200", "0.500"],
    ["300", "0.900"],
    ["400", "1.000"],
  ]);
  expect(cells(html, "Convergence to the final recipe").map(([, cosine]) => cosine)).toEqual([
    "0.000",
    "0.316",
    "0.707",
    "0.949",
    "1.000",
  ]);
  expect(html).toContain("random directions, 95%");
  const signals = cells(html, "king");
  expect(signals[0]).toEqual(["2", "0.000", "0.250", "0.500", "0.750", "1.000"]);
  expect(html).toContain("prince 0.61");
  expect(html).toContain("queen 0.75, &lt;/text&gt;");
  expect(html).not.toContain("<script");
  expect(renderTimelapse(structuredClone(lines))).toBe(html);
});

test("handles one evaluation, one word without recipes, many words, and words watched only for a while", () => {
  const [first] = lines;
  const { recipes: _, ...alone } = first.tokens[0];
  const one = renderTimelapse([{ step: 7, tokens: [alone] }]);
  expect(one).toContain("One evaluation of a model in training, at step 7.");
  expect(one).not.toMatch(/NaN|undefined|by recipe</);
  const words = ["a", "b", "c", "d", "e"];
  const many = lines.map((line, i) => ({
    ...line,
    tokens: words.slice(i % 2).map((word, at) => token(word, turned(at, at + 1, 0.3))),
  }));
  const html = renderTimelapse(many);
  expect(html).toContain("How a, b, c and 2 more formed");
  expect(html).toContain("a ↔ b, 200");
  expect(html).not.toMatch(/NaN|undefined/);
});

test("timelapse writes into the run or to --out, and skips a truncated last line", async () => {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  const run = temporaryFolder({ "watch.jsonl": `${text}{"step":50` });
  const { stdout, code } = await cli("timelapse", run);
  expect([stdout, code]).toEqual([`${join(run, "timelapse.html")}\n`, 0]);
  expect(readFileSync(join(run, "timelapse.html"), "utf8")).toBe(renderTimelapse(lines));
  await cli("timelapse", run, "--out", join(run, "other.html"));
  expect(readdirSync(run).sort()).toEqual(["other.html", "timelapse.html", "watch.jsonl"]);
});

test("rejects runs without watched words", async () => {
  const root = temporaryFolder({
    "empty/watch.jsonl": "",
    "good/watch.jsonl": `${JSON.stringify(lines[0])}\n`,
  });
  expect(await refused("timelapse", join(root, "none"))).toContain("train with --watch");
  expect(await refused("timelapse", join(root, "empty"))).toContain("watch.jsonl is empty");
  const out = join(root, "no/where.html");
  expect(await refused("timelapse", join(root, "good"), "--out", out)).toContain("does not exist");
});
