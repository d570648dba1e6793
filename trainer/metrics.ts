import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** `metrics.jsonl` of a run: an object a line, by step. */
export class Metrics {
  readonly #path: string;

  /** @param step where the run begins or goes on: lines beyond it are of steps that will be done again */
  constructor(run: string, step: number) {
    this.#path = join(run, "metrics.jsonl");
    if (!existsSync(this.#path)) return;
    const lines = readFileSync(this.#path, "utf8").split("\n");
    const kept = lines.filter((line) => stepOf(line) <= step);
    writeFileSync(`${this.#path}.tmp`, kept.map((line) => `${line}\n`).join(""));
    renameSync(`${this.#path}.tmp`, this.#path);
  }

  write(entry: { step: number } & Record<string, number>): void {
    appendFileSync(this.#path, `${JSON.stringify(entry)}\n`);
  }
}

/** Infinity for a line that a kill cut short. */
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as { step: number }).step;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
