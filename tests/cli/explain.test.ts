import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Explanation } from "../../runtime/analysis/explain.ts";
import type { Intervention } from "../../runtime/interventions/spec.ts";
import { loadModel } from "../../runtime/mod.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cliWith, json, refused } from "./support.ts";

const root = temporaryFolder();
const folder = join(root, "model");
await writeTinyCheckpoint(folder);
const PROMPT = ["--prompt", "the king and the", "--threads", "1"];

describe("explain", () => {
  test("--json matches the library's explanation", async () => {
    const flags = ["--target", " sea", "--position", "1", "--top", "2"];
    const found = await json<object>("explain", folder, ...PROMPT, ...flags);
    using model = await loadModel(folder, { device: "wasm", threads: 1 });
    const ids = model.tokenize("the king and the");
    const expected = await model.explain(ids, { target: " sea", position: 1, top: 2 });
    expect(found).toEqual({ prompt: "the king and the", ids: [...ids], ...expected });
  });

  test("interventions use the reference text and appear as a component", async () => {
    const spec: Intervention = {
      op: "add",
      target: { token: " sea" },
      hook: "hook_resid_post",
      layers: [0, 1],
      strength: 2,
      unit: "sigma",
    };
    const flags = ["--spec", JSON.stringify(spec)];
    expect(await refused("explain", folder, ...PROMPT, ...flags)).toContain("expected a reference text");
    const other = join(root, "with-text");
    await writeTinyCheckpoint(other);
    const text = "the sea and the king ".repeat(20);
    writeFileSync(join(other, "held-out.txt"), text);
    const found = await json<Explanation>("explain", other, ...PROMPT, ...flags);
    using model = await loadModel(other, { device: "wasm", threads: 1 });
    const options = { interventions: [spec], reference: model.tokenize(text) };
    expect(found).toMatchObject(await model.explain(model.tokenize("the king and the"), options));
    expect(found.writers.at(-1)!.name).toBe("interventions");
    const { stdout } = await cliWith({}, "explain", other, ...PROMPT, ...flags);
    expect(stdout).toMatch(/\n +steering +[+-]\d+\.\d{3}\n +sum /);
  });

  for (const columns of [60, 100]) {
    test(`tables in ${columns} columns`, async () => {
      const env = { COLUMNS: String(columns) };
      const { code, stdout, stderr } = await cliWith({ env }, "explain", folder, ...PROMPT, "--top", "3");
      expect([code, stderr]).toEqual([0, ""]);
      const lines = stdout.trimEnd().split("\n");
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
      expect(lines[0]).toBe("the king and the");
      expect(lines[1]).toMatch(/^→ ".+" {2}logit -?\d+\.\d{3}, probability \d\S*%$/);
      const at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));
      expect(lines[at(/^ +signal/)]).toMatch(/signal +logit +R\[v,s\] +z\[s\] +written by/);
      const figures =
        /^ +\d+ +[+-]\d+\.\d{3} +-?\d+\.\d{3} +-?\d+\.\d{2} +(embed|\d\.(attn|mlp)) +[+-]\d+\.\d{2}/;
      expect(lines.filter((line) => figures.test(line)).length).toBe(3);
      for (const sign of ["+", "−"]) {
        const codebooks = lines.filter((line) => line.includes(` ${sign} "`) || line.includes(` ${sign} <`));
        expect(codebooks.length).toBe(3);
      }
      expect(at(/^ +21 more +[+-]\d+\.\d{3}$/)).toBeGreaterThan(0);
      // Contributions by signal and by component have the same sum.
      const sums = lines.filter((line) => /^ +sum /.test(line)).map((line) => line.trim().split(/ +/)[1]);
      expect(sums.length).toBe(2);
      expect(sums[0]).toBe(sums[1]);
      expect(lines[at(/written by +attention/) + 1]).toMatch(/^ +embedding +[+-]\d+\.\d{3}$/);
      expect(lines[at(/block 1/)]).toMatch(/^ +block 1( +[+-]\d+\.\d{3}){3}$/);
    });
  }

  test("notes that a model has no signals", async () => {
    const twin = join(root, "twin");
    await writeTinyCheckpoint(twin, { variant: "gpt2-new", n_signals: undefined });
    const { code, stdout, stderr } = await cliWith({}, "explain", twin, ...PROMPT, "--top", "1");
    expect(code).toBe(0);
    expect(stdout).toMatch(/dimension +logit +E\[v,i\] +n\[i\]/);
    expect(stderr).toContain("a gpt2-new has no signals: dimensions of the residual stream");
  });

  test("rejects invalid input", async () => {
    expect(await refused("explain", folder, "--prompt", "")).toContain("--prompt is empty");
    expect(await refused("explain", folder, "--prompt", "the sea ".repeat(30))).toContain(
      "a sequence of 61 ids",
    );
    expect(await refused("explain", folder, ...PROMPT, "--position", "5")).toContain("position is 5");
    expect(await refused("explain", folder, ...PROMPT, "--target", " people")).toContain(
      '" people" is 2 tokens',
    );
  });
});
