/** Runs the trainer as users do, in a process of its own, on a model of 31,000 parameters and 12 KB of text. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { SCRIPT_COMMAND } from "../../runtime/host/child-process.ts";
import { Child } from "../support/child.ts";

export const MODEL = {
  d_model: 32,
  n_signals: 32,
  n_layers: 2,
  n_heads: 4,
  d_ff: 64,
  context: 16,
  vocab_size: 300,
};

const WORDS =
  "the people of union states great war peace law and a to in we our nation congress year money trade".split(
    " ",
  );

/** Random sentences, in which the first words of the list are the most frequent. */
export function text(length: number, seed = 1): string {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  let words = "";
  while (words.length < length) {
    words += WORDS[Math.floor(random() * random() * WORDS.length)];
    words += random() < 0.12 ? ".\n" : " ";
  }
  return words;
}

/** Flags that give the same result on every machine, with or without a GPU. */
export const CPU = ["--device", "wasm", "--threads", "1"];

/** Flags of most runs. A step takes a few milliseconds. */
export const COMMON = ["--config", "config.json", "--data", "text.txt", "--batch", "8", ...CPU];

/** A temporary folder with `text.txt`, `config.json` and a cache, for all runs of a test file; removed at the end of it. */
export class Workspace {
  readonly folder = mkdtempSync(join(tmpdir(), "reflow-trainer-"));
  readonly #started: Child[] = [];

  constructor() {
    writeFileSync(this.path("text.txt"), text(12_000));
    writeFileSync(this.path("config.json"), JSON.stringify(MODEL));
    after(() => {
      // A failed test may leave processes running.
      for (const { child } of this.#started) child.kill("SIGKILL");
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /**
   * Starts the trainer.
   *
   * @param wrap a command that runs the trainer
   * @param faults environment of `fault-injection.ts`, which is run instead of the trainer
   */
  start(args: readonly string[], wrap: string[] = [], faults?: Record<string, string>): Child {
    const command = [...wrap, ...SCRIPT_COMMAND, faults ? FAULT_INJECTION : MAIN, ...args];
    const trainer = new Child(command, this.folder, { REFLOW_CACHE: this.path("cache"), ...faults });
    this.#started.push(trainer);
    return trainer;
  }

  /** Runs the trainer to its end, and asserts its exit status. */
  async run(args: readonly string[], status = 0, wrap: string[] = []): Promise<Child> {
    const trainer = this.start(args, wrap);
    await trainer.waitForExit(status);
    return trainer;
  }

  /** The names of a run's checkpoints. */
  checkpoints(run: string): string[] {
    return readdirSync(this.path(run))
      .filter((name) => name.startsWith("step-"))
      .sort();
  }

  /** The files of a run's newest checkpoint, by name. */
  newest(run: string): Map<string, Buffer> {
    const folder = this.path(run, this.checkpoints(run).at(-1)!);
    const names = readdirSync(folder).sort();
    return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
  }

  metrics(run: string): Record<string, number>[] {
    const lines = readFileSync(this.path(run, "metrics.jsonl"), "utf8").trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line));
  }
}

const MAIN = join(import.meta.dirname, "../../trainer/main.ts");
const FAULT_INJECTION = join(import.meta.dirname, "fault-injection.ts");

/** Asserts that two checkpoints have the same files, byte for byte. */
export function assertSameFiles(
  found: Map<string, Buffer>,
  expected: Map<string, Buffer>,
  what: string,
): void {
  assert.deepEqual([...found.keys()], [...expected.keys()], what);
  for (const [name, bytes] of expected) {
    assert.ok(bytes.equals(found.get(name)!), `${what}: ${name} differs`);
  }
}

/** Drops the keys that depend on the clock. */
export function withoutTimings(metrics: Record<string, number>[]): Record<string, number>[] {
  return metrics.map(({ tokensPerSecond: _, roofShare: __, ...rest }) => rest);
}
