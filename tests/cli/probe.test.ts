import { expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Results } from "../../cli/report/results.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, json, refused } from "./support.ts";

const root = temporaryFolder();
const run = join(root, "run");
const folder = join(run, "step-00001234");
await writeTinyCheckpoint(folder);
const twin = join(root, "twin");
await writeTinyCheckpoint(twin, { variant: "gpt2-new", n_signals: undefined });

const file = (name: string, text: string): string => {
  const path = join(root, name);
  writeFileSync(path, text);
  return path;
};
const text = file("text.txt", "the king and the queen of the people went to the sea. ".repeat(40));
/** The cheapest experiments. */
const CHEAP = ["geometry", "--text", text, "--threads", "1"];

test("probes a run's newest checkpoint: reproducible files beside it, and a table on stdout", async () => {
  const first = await cli("probe", run, ...CHEAP, "--quick");
  expect(first.code, first.stderr).toBe(0);
  const probes = join(run, "probes");
  expect(readdirSync(probes).sort()).toEqual(["report.html", "results.json"]);
  const lines = first.stdout.split("\n");
  for (const line of lines.slice(0, 4)) expect(line.length).toBeLessThanOrEqual(60);
  expect(first.stdout).toMatch(
    /^ {2}claim +observed +chance +p \(Holm\)\n– geometry\.coherence +0\.\d+ +0\.\d+ +[\d.]+\n/,
  );
  expect(first.stdout).toContain("0 of 1 claims hold");
  expect(first.stdout).toContain(join(probes, "report.html"));
  expect(first.stderr).toBe("geometry …\n");

  const read = () => ["results.json", "report.html"].map((name) => readFileSync(join(probes, name), "utf8"));
  const [results, report] = read();
  const { model, trained, text, certificate, results: found }: Results = JSON.parse(results);
  expect(model).toMatchObject({ variant: "reflow", n_signals: 24, parameters: expect.any(Number) });
  expect(trained).toBeUndefined(); // the checkpoint does not record the number of tokens
  expect(text.tokens).toBeGreaterThan(48 * 8);
  expect(certificate).toMatchObject({ seed: 1, quick: true });
  expect(found.map(({ id }) => id)).toEqual(["geometry"]);
  expect(report).toStartWith("<!doctype html>");
  expect(report).toContain("How does the basis use the residual stream?");

  const again = await json<Results>("probe", run, ...CHEAP, "--quick");
  expect(read()).toEqual([results, report]);
  const { format: _, ...written } = JSON.parse(results);
  expect(again).toEqual(written);
});

test("records steps and tokens, and accepts a twin, another seed, and --out", async () => {
  const trained = join(root, "trained");
  cpSync(folder, trained, { recursive: true });
  rmSync(join(trained, "manifest.json"));
  const trajectory = { seed: 1, basisInit: "orthogonal", batch: 8, accumulate: 2, world: 1 };
  writeFileSync(join(trained, "trainer.json"), JSON.stringify({ position: { step: 10 }, trajectory }));
  const out = join(root, "some/where");
  const found = await json<Results>("probe", trained, ...CHEAP, "--twin", twin, "--seed", "7", "--out", out);
  expect(found.trained).toEqual({ steps: 10, tokens: 10 * 8 * 2 * 48 });
  expect(found.certificate).toMatchObject({ seed: 7, quick: false });
  expect(found.beside.twin).toMatch(/^[0-9a-f]{64}$/);
  expect(readdirSync(out).sort()).toEqual(["report.html", "results.json"]);
  const figures = JSON.stringify(found.results[0].figures);
  for (const arm of ["twin's embedding", "basis at initialisation"]) expect(figures).toContain(arm);

  const compared = await cli("probe", "--compare", out, join(run, "probes/results.json"));
  expect(compared.stdout).toMatch(/^claim +A +B\ngeometry\.coherence +– +0\.\d+ +– +0\.\d+\n/);
  expect(readFileSync(join(out, "compare.html"), "utf8")).toContain(`<span class="tag">A</span> ${out}`);
  expect(readdirSync(out).sort()).toEqual(["compare.html", "report.html", "results.json"]);
});

test("rejects invalid input, and writes nothing", async () => {
  const nowhere = join(root, "nowhere");
  const refuse = async (...args: string[]) => {
    const error = await refused("probe", ...args, "--out", nowhere);
    expect(existsSync(nowhere)).toBe(false);
    return error;
  };
  expect(await refuse(folder, "galxy", "--text", text)).toContain("Did you mean galaxy?");
  expect(await refuse()).toContain("no model given");
  expect(await refuse(join(root, "none"))).toContain("does not exist");
  const short = file("short.txt", "the king");
  expect(await refuse(folder, "geometry", "--text", short)).toContain("give at least 384");
  expect(await refuse(folder, "geometry", "--text", join(root, "none"))).toContain("no such file");
  expect(await refuse(folder, ...CHEAP, "--twin", folder)).toContain("the twin is a reflow");
  expect(await refuse(folder, ...CHEAP, "--seeds", twin)).toContain("not another seed");
  expect(await refuse(folder, ...CHEAP, "--eval", root)).toContain("has no evaluation sets");
  const sets = join(root, "sets");
  mkdirSync(sets);
  writeFileSync(join(sets, "questions-words.txt"), ": family\nking queen man\n");
  expect(await refuse(folder, ...CHEAP, "--eval", sets)).toContain("analogies, line 2");
  const bare = join(root, "bare");
  cpSync(folder, bare, { recursive: true });
  for (const name of ["tokenizer.json", "manifest.json"]) rmSync(join(bare, name));
  expect(await refuse(bare, ...CHEAP)).toContain("has no tokenizer.json");
  expect(await refused("probe", folder, ...CHEAP, "--out", join(text, "in"))).toContain("is not a folder");
});

test("rejects invalid comparisons", async () => {
  expect(await refused("probe", "--compare", text)).toContain("--compare takes two results");
  expect(await refused("probe", folder, "--compare", text, text)).toContain("and no checkpoint");
  expect(await refused("probe", "--compare", text, text)).toContain("JSON");
  expect(await refused("probe", "--compare", root, root)).toContain("no such file");
});
