/** The trainer as its users have it: a process of its own, here on a model of 31,000 parameters and 12 KB of text. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { HOST } from "../../trainer/distributed/launch.ts";
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

/** Sentences of words, the first ones often. */
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

/** The same everywhere, with a GPU or without. */
export const CPU = ["--device", "wasm", "--threads", "1"];

/** What every run is told, unless a test says something else: it takes some milliseconds a step. */
export const COMMON = ["--config", "config.json", "--data", "text.txt", "--batch", "8", ...CPU];

/** A folder with `text.txt`, `config.json` and a cache, where all runs of a test file are. Removed after it. */
export class Workplace {
  readonly folder = mkdtempSync(join(tmpdir(), "reflow-trainer-"));
  readonly #started: Child[] = [];

  constructor() {
    writeFileSync(this.path("text.txt"), text(12_000));
    writeFileSync(this.path("config.json"), JSON.stringify(MODEL));
    after(() => {
      // What a failed test left running.
      for (const { child } of this.#started) child.kill("SIGKILL");
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /**
   * @param wrap a command that runs the trainer
   * @param faults for faulty.ts, in the place of the trainer itself
   */
  start(args: readonly string[], wrap: string[] = [], faults?: Record<string, string>): Child {
    const command = [...wrap, ...HOST, faults ? FAULTY : MAIN, ...args];
    const trainer = new Child(command, this.folder, { REFLOW_CACHE: this.path("cache"), ...faults });
    this.#started.push(trainer);
    return trainer;
  }

  /** To its end, which must come with this status. */
  async run(args: readonly string[], status = 0, wrap: string[] = []): Promise<Child> {
    const trainer = this.start(args, wrap);
    await trainer.ends(status);
    return trainer;
  }

  /** Names of a run's checkpoints. */
  checkpoints(run: string): string[] {
    return readdirSync(this.path(run))
      .filter((name) => name.startsWith("step-"))
      .sort();
  }

  /** A run's newest checkpoint: its files. */
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
const FAULTY = join(import.meta.dirname, "faulty.ts");

/** Checkpoints equal to the last byte, file by file. */
export function assertSame(found: Map<string, Buffer>, expected: Map<string, Buffer>, what: string): void {
  assert.deepEqual([...found.keys()], [...expected.keys()], what);
  for (const [name, bytes] of expected) {
    assert.ok(bytes.equals(found.get(name)!), `${what}: ${name} differs`);
  }
}

/** Without what depends on the clock. */
export function timeless(metrics: Record<string, number>[]): Record<string, number>[] {
  return metrics.map(({ tokensPerSecond: _, roofShare: __, ...rest }) => rest);
}
