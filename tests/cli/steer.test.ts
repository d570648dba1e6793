import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSafetensors } from "../../runtime/formats/safetensors.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, cliWith, json, refused } from "./support.ts";

interface Run {
  text: string;
  ids: number[];
  finishReason: string;
  logprobs: number[];
  unsteeredLogprobs: number[];
  loss: number;
}
type Steered = { prompt: string; seed: number; interventions: unknown[] } & Record<
  "default" | "steered",
  Run
>;

const root = temporaryFolder();
const folder = join(root, "model");
await writeTinyCheckpoint(folder);
const PROMPT = ["--prompt", "the people", "--threads", "1"];
const ADD = {
  op: "add",
  target: { expression: "the - sea" },
  hook: "hook_resid_post",
  layers: [0, 1],
  strength: 2,
  unit: "residNorm",
};
const spec = (...changes: object[]) => JSON.stringify(changes.map((change) => ({ ...ADD, ...change })));

describe("steer", () => {
  const steer = (given: string, ...flags: string[]) =>
    json<Steered>("steer", folder, ...PROMPT, "--seed", "3", "--max-tokens", "5", "--spec", given, ...flags);

  test("returns both runs with their tokens and log-probabilities", async () => {
    const found = await steer(spec({}));
    expect(found).toMatchObject({ prompt: "the people", seed: 3, interventions: [ADD] });
    for (const { ids, text, finishReason, logprobs, unsteeredLogprobs, loss } of [
      found.default,
      found.steered,
    ]) {
      expect(ids.length).toBe(5);
      expect(text).toBe(tinyTokenizer.decode(ids));
      expect(finishReason).toBe("length");
      expect([logprobs.length, unsteeredLogprobs.length]).toEqual([5, 5]);
      expect(loss).toBeCloseTo(-unsteeredLogprobs.reduce((a, b) => a + b) / 5, 6);
    }
    for (const [i, logprob] of found.default.logprobs.entries()) {
      expect(found.default.unsteeredLogprobs[i]).toBeCloseTo(logprob, 4);
    }
    expect(found.steered.logprobs).not.toEqual(found.default.logprobs);
    expect(found.steered.unsteeredLogprobs[0]).not.toBeCloseTo(found.steered.logprobs[0], 3);
    const path = join(root, "spec.json");
    writeFileSync(path, JSON.stringify(ADD));
    expect(await steer(path)).toEqual(found);
    const { default: plain, steered } = await steer(spec({ strength: 0 }));
    expect(steered).toEqual(plain);
    expect(plain).toEqual(found.default);
  });

  test("unit sigma requires a reference text", async () => {
    const text = join(root, "reference.txt");
    writeFileSync(text, "the sea was great and the people went to the sea. ".repeat(4));
    const { steered } = await steer(spec({ unit: "sigma", strength: 50 }), "--text", text);
    expect(steered.ids.length).toBe(5);
    expect(await refused("steer", folder, ...PROMPT, "--spec", spec({ unit: "sigma" }))).toMatch(
      /interventions\[0\]\.unit is "sigma": expected a reference text\nhelp: .*--text FILE/,
    );
  });

  test("two columns on wide terminals, one below the other on narrow ones", async () => {
    const flags = [
      "steer",
      folder,
      ...PROMPT,
      "--seed",
      "3",
      "--max-tokens",
      "4",
      "--spec",
      spec({}),
    ] as const;
    const found = await json<Steered>(...flags);
    for (const columns of [40, 79, 80, 120]) {
      const { code, stdout, stderr } = await cliWith({ env: { COLUMNS: String(columns) } }, ...flags);
      expect(code).toBe(0);
      expect(stderr).toBe("seed 3; finish reasons: length (default), length (steered)\n");
      const lines = stdout.trimEnd().split("\n");
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
      const beside = lines.some((line) => /^default +steered$/.test(line));
      expect(beside).toBe(columns >= 80);
      const losses = lines.filter((line) => line.startsWith("mean loss"));
      const values = losses.flatMap((line) => line.match(/\d+\.\d\d/g)!);
      expect(values).toEqual([found.default, found.steered].map(({ loss }) => loss.toFixed(2)));
      expect(losses.length).toBe(beside ? 1 : 2);
      const figures = lines.flatMap((line) => line.match(/-\d+\.\d\d/g) ?? []);
      expect(figures.length).toBe(4 + 2 * 4);
    }
  });

  test("rejects invalid input", async () => {
    const refusals: [given: string, message: string | RegExp][] = [
      [spec({ hook: "hook_resid_pots" }), 'interventions[0].hook is "hook_resid_pots"'],
      [spec({ layers: [0, 2] }), "interventions[0].layers is [0,2]"],
      [spec({ target: { token: " king" } }), '" king" is 2 tokens, " kin" "g"'],
      [spec({ target: { expression: "king - man" } }), '" king" is 2 tokens'],
      [spec({ target: { signal: 24 } }), "interventions[0].target.signal is 24: expected one of 24 signals"],
      [spec({}, { strength: 1e38 }), "interventions[1].strength is 1e+38"],
      [`[${spec({}).slice(1, -1).replace('"strength":2', '"strength":NaN')}]`, /--spec: .*JSON/],
      [spec({ positions: [99] }), "interventions[0].positions[0] is 99"],
      [spec({ strenght: 1 }), 'did you mean "strength"?'],
      ["{", /--spec: .*JSON/],
      [join(root, "none.json"), "no such file"],
    ];
    for (const [given, message] of refusals) {
      expect(await refused("steer", folder, ...PROMPT, "--json", "--spec", given)).toMatch(message);
    }
    const flags = ["--threads", "1", "--spec", spec({})];
    expect(await refused("steer", folder, ...flags, "--prompt", "")).toContain("prompt 0 is empty");
    expect(await refused("steer", folder, ...flags, "--prompt", "the sea ".repeat(30))).toContain(
      "the context 48",
    );
    expect(await refused("steer", folder, "--prompt", "the")).toContain("give --spec, --patch, or both");
    expect(await refused("steer", folder, ...PROMPT, ...flags, "--top-p", "2")).toContain("topP is 2");
  });
});

describe("activations", () => {
  const NAMES = "hook_signals, blocks.*.hook_resid_post";
  const names = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "hook_signals"];

  test("saves the named activations of prompt and generated tokens, as JSON and as a file", async () => {
    const flags = ["activations", folder, ...PROMPT, "--names", NAMES, "--max-tokens", "3"];
    const { ids, text, activations } = await json<{
      ids: number[];
      text: string;
      activations: Record<string, { shape: number[]; data: number[] }>;
    }>(...(flags as [string]));
    const prompt = [...tinyTokenizer.encode("the people")];
    expect(ids.slice(0, prompt.length)).toEqual(prompt);
    expect(ids.length).toBe(prompt.length + 3);
    expect(text).toBe(tinyTokenizer.decode(ids));
    expect(Object.keys(activations)).toEqual(names);
    expect(activations.hook_signals.shape).toEqual([1, ids.length, 24]);

    const out = join(root, "activations.safetensors");
    const { code, stdout } = await cli(...flags, "--out", out);
    expect(code).toBe(0);
    expect(stdout).toBe(
      `${out}\n${names.map((name, i) => `${name.padEnd(26)}1×6×${i < 2 ? 32 : 24}\n`).join("")}`,
    );
    const { tensors, metadata } = readSafetensors(readFileSync(out));
    expect([...tensors.keys()]).toEqual(names);
    expect(metadata).toEqual({ prompt: "the people", text, ids: JSON.stringify(ids) });
    for (const name of names) {
      expect(tensors.get(name)!.shape).toEqual(activations[name].shape);
      expect([...(tensors.get(name)!.data as Float32Array)]).toEqual(activations[name].data);
    }
  });

  test("rejects invalid input, and writes nothing", async () => {
    const before = readdirSync(root);
    const out = ["--out", join(root, "none.safetensors")];
    const wrong = (...flags: string[]) => refused("activations", folder, "--threads", "1", ...flags);
    const named = ["--names", "hook_embed"];
    expect(await wrong("--prompt", "the", "--names", "hook_embd", ...out)).toContain(
      'did you mean "hook_embed"?',
    );
    expect(await wrong("--prompt", "the", "--names", "hook_embed,x*", ...out)).toContain(
      "no hook point matches x*",
    );
    expect(await wrong("--prompt", "", ...named, ...out)).toContain("--prompt is empty");
    expect(await wrong("--prompt", "the ".repeat(60), ...named, ...out)).toContain("a sequence of 61 ids");
    expect(await wrong("--prompt", "the ".repeat(60), "--max-tokens", "1", ...named, ...out)).toContain(
      "the context 48",
    );
    expect(await wrong("--prompt", "the", ...named)).toContain("give --out FILE or --json");
    expect(await wrong("--prompt", "the", ...named, ...out, "--json")).toContain("give --out FILE or --json");
    expect(await wrong("--prompt", "the", ...named, "--out", join(root, "no", "x"))).toContain(
      "does not exist",
    );
    expect(await wrong("--prompt", "the", ...named, ...out, "--max-tokens", "x")).toContain(
      "Expected an integer",
    );
    expect(readdirSync(root)).toEqual(before);
  });
});
