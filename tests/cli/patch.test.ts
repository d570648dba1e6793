import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BlastRadius } from "../../runtime/analysis/blast-radius.ts";
import { loadModel } from "../../runtime/mod.ts";
import { type GenePatch, invertPatch } from "../../runtime/patches/patch.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cliWith, json, refused } from "./support.ts";

const root = temporaryFolder();
const folder = join(root, "model");
await writeTinyCheckpoint(folder);
const file = (name: string) => join(root, name);
const load = (name: string): GenePatch => JSON.parse(readFileSync(file(name), "utf8"));
const SEA = tinyTokenizer.tokenId(" sea")!;
const ONE = ["--threads", "1"];
const patch = (...flags: string[]) => ["patch", folder, ...ONE, ...flags];

const model = await loadModel(folder, { device: "wasm", threads: 1 });
afterAll(() => model.dispose());
writeFileSync(file("text.txt"), "the sea was the king and the sea was the queen");
writeFileSync(file("analogies.txt"), ": all\nthe sea and was\nand was the elephants\n");
const edits = [{ token: SEA, signal: 17, delta: 4 }];
writeFileSync(file("other.json"), JSON.stringify({ model: "0".repeat(64), edits }));

describe("patch", () => {
  test("from an expression: writes the file and reports side effects", async () => {
    const args = ["--text", file("text.txt"), "--analogies", file("analogies.txt"), "--out", file("a.json")];
    const expression = "sea += 0.6 * (the - sea); was -= and";
    const env = { COLUMNS: "60" };
    const { code, stdout, stderr } = await cliWith({ env }, ...patch("--expression", expression, ...args));
    expect([code, stderr]).toEqual([0, ""]);
    expect(load("a.json")).toEqual(await model.createPatch(expression));
    const lines = stdout.trimEnd().split("\n");
    expect(lines.join(" ")).toContain(`a.json: ${load("a.json").edits.length} edits of 2 tokens, `);
    expect(lines.filter((line) => /^\S/.test(line) && !line.includes(root)).join(" ")).toMatch(
      /" was" " sea" The \d+ nearest neighbours of \d+ of 288 other tokens changed Analogies: .* correct before, .* Predictions at \d+ positions: mean KL divergence \S+ nats/,
    );
    for (const line of lines) if (!line.includes(root)) expect(line.length).toBeLessThanOrEqual(60);
  });

  test("composes, inverts, and reads edits; --json contains the whole report", async () => {
    writeFileSync(file("b.json"), JSON.stringify({ model: model.checkpoint, edits }));
    type Found = BlastRadius & { out: string; patch: GenePatch };
    const flags = ["--patch", file("b.json"), file("b.json"), "--edits", JSON.stringify(edits), "--invert"];
    const found = await json<Found>(...patch(...flags, "--out", file("c.json")));
    expect(load("c.json").edits).toEqual(Array(3).fill({ token: SEA, signal: 17, delta: -4 }));
    expect(found).toMatchObject({
      out: file("c.json"),
      edits: 3,
      edited: { count: 1, most: [{ id: SEA, text: " sea" }] },
    });
    expect(found.bytes).toBe(readFileSync(file("c.json")).length);
    const shown = await json<Found>(...patch("--patch", file("b.json")));
    expect(shown.patch).toEqual({ model: model.checkpoint!, edits });
    expect(invertPatch(shown.patch).edits).toEqual([{ token: SEA, signal: 17, delta: -4 }]);
  });

  const REFUSED: [flags: string[], message: string][] = [
    [[], "no edits given"],
    [["--expression", "sea += elephants"], '" elephants" is '],
    [["--expression", "sea += 1e38 * the"], "a coefficient exceeds 1000000"],
    [
      ["--edits", '[{"token":1,"signal":24,"delta":1}]'],
      "patch.edits[0].signal is 24: expected one of 24 signals",
    ],
    [["--edits", '[{"token":1,"signal":2,"delta":NaN}]'], "--edits: JSON"],
    [["--patch", file("other.json")], "patch.model is 000"],
    [["--patch", file("text.txt")], "text.txt: JSON"],
    [["--patch", file("none.json")], "none.json: no such file"],
  ];
  test("rejects invalid input, and writes nothing", async () => {
    const before = readdirSync(root);
    for (const [flags, message] of REFUSED) {
      expect(await refused(...patch(...flags, "--out", file("no.json")))).toContain(message);
    }
    expect(readdirSync(root)).toEqual(before);
  });
});

describe("--patch", async () => {
  const patched = { model: model.checkpoint!, edits };
  writeFileSync(file("p.json"), JSON.stringify(patched));
  const flags = ["--patch", file("p.json"), ...ONE];
  const prompt = "the king and the sea";
  const generate = async (options: object) => {
    const ids: number[] = [];
    for await (const event of model.generate(prompt, { maxTokens: 6, seed: 2, ...options })) {
      if (event.type === "token") ids.push(event.id);
    }
    return ids;
  };
  const [plain, expected] = [await generate({}), await generate({ patch: patched })];

  test("sample and steer apply the patch, the default run does not", async () => {
    expect(expected).not.toEqual(plain);
    const more = [...flags, "--prompt", prompt, "--seed", "2", "--max-tokens", "6"];
    const sampled = await json<{ samples: { ids: number[] }[] }>("sample", folder, ...more);
    expect(sampled.samples[0].ids).toEqual(expected);
    const steered = await json<Record<"default" | "steered", { ids: number[] }>>("steer", folder, ...more);
    expect([steered.default.ids, steered.steered.ids]).toEqual([plain, expected]);
  });

  test("eval and explain apply the patch", async () => {
    const { endOfText } = tinyTokenizer;
    const ids = [endOfText, ...model.tokenize(readFileSync(file("text.txt"), "utf8"))];
    const { loss } = await model.evaluate(ids, { patch: patched });
    const evaluated = await json<{ loss: number }>("eval", folder, ...flags, "--text", file("text.txt"));
    expect(evaluated.loss).toBeCloseTo(loss, 5);
    expect(loss).not.toBeCloseTo((await model.evaluate(ids)).loss, 3);
    const more = ["--prompt", prompt, "--target", " sea", "--top", "24"];
    const { signals } = await json<{ signals: { signal: number; recipe: number }[] }>(
      "explain",
      folder,
      ...flags,
      ...more,
    );
    const { recipe } = await model.tables({ patch: patched });
    expect(signals.find(({ signal }) => signal === 17)!.recipe).toBe(recipe.data[SEA * 24 + 17]);
  });
});
