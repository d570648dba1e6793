/** Runs every program in docs/examples as a reader would, and checks what it prints. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const examples = join(root, "docs/examples");
const TIMEOUT_MS = 60_000;

async function run(name: string, ...args: string[]): Promise<string> {
  const child = Bun.spawn([process.execPath, join(examples, name), ...args], {
    cwd: root,
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect(code, stderr).toBe(0);
  return stdout;
}

/** The text, or the numbers, after a label at the start of a line. */
const after = (output: string, label: string): string =>
  output
    .split("\n")
    .find((line) => line.startsWith(label))
    ?.slice(label.length)
    .trim() ?? "";

/** A check of each program's output. A program without a check fails the test below. */
const CHECKS: Record<string, () => Promise<void>> = {
  async "load-and-generate.ts"() {
    const output = await run("load-and-generate.ts", "Once upon a time");
    expect(output).toStartWith("Once upon a time");
    expect(output).toContain("(finished: length)");
  },

  async "cache-activations.ts"() {
    const output = await run("cache-activations.ts");
    expect(output).toContain("blocks.5.hook_resid_post has shape [1, 8, 256]");
    expect(output).toContain("hook_signals has shape [1, 8, 256]");
    expect(output).toMatch(/Strongest signal at the last position: \d+, value -?\d+\.\d\d/);
  },

  async "ablate-a-signal.ts"() {
    const output = await run("ablate-a-signal.ts");
    const contribution = Number(/contributes (-?[\d.]+)/.exec(output)?.[1]);
    const before = Number(after(output, "Logit before:"));
    const byIntervention = Number(after(output, "Logit, by intervention:"));
    // The weights are int8: the readout is rounded, so that a logit changes by the contribution only approximately.
    expect(before - byIntervention).toBeCloseTo(contribution, 1);
    expect(after(output, "Logit, by hook function:")).toBe(after(output, "Logit, by intervention:"));
  },

  async "edit-a-recipe.ts"() {
    const output = await run("edit-a-recipe.ts");
    expect(after(output, "Nearest to terrible before:")).not.toStartWith("great");
    expect(after(output, "Nearest to terrible after:")).toStartWith("great");
    expect(output).toContain("The patch composed with its inverse has 0 edits.");
  },

  async "train-from-code.ts"() {
    const folder = temporaryFolder();
    const output = await run("train-from-code.ts", folder);
    expect(output).toContain("The king spoke to the ");
    expect(readdirSync(join(folder, "run"))).toContain("step-00000060");
  },

  async "serve-inside-hono.ts"() {
    expect(await run("serve-inside-hono.ts")).toMatch(/^200: \S/);
  },
};

test("every example is checked", () => {
  const programs = readdirSync(examples).filter((name) => name.endsWith(".ts"));
  expect(programs.sort()).toEqual(Object.keys(CHECKS).sort());
});

for (const [name, check] of Object.entries(CHECKS)) test(name, check, TIMEOUT_MS);
