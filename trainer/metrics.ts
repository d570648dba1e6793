import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { diskError } from "../runtime/formats/disk.ts";

/** `metrics.jsonl` of a run: an object a line, by step. */
export class Metrics {
  readonly #path: string;

  constructor(run: string) {
    this.#path = join(run, "metrics.jsonl");
  }

  /**
   * Adds a line. An evaluation takes the place of an earlier one of the same step.
   *
   * @throws ReflowError `checkpoint` where the disk is full, for example
   */
  write(entry: { step: number } & Record<string, number>): void {
    if ("valLoss" in entry) this.#keep((line) => line.step !== entry.step || !("valLoss" in line));
    this.#toDisk(() => appendFileSync(this.#path, `${JSON.stringify(entry)}\n`));
  }

  /** Drops the lines beyond a step: what they tell of will be done again. */
  cut(step: number): void {
    this.#keep((line) => line.step <= step);
  }

  #keep(holds: (line: { step: number }) => boolean): void {
    if (!existsSync(this.#path)) return;
    const lines = readFileSync(this.#path, "utf8").split("\n");
    const kept = lines.filter((line) => {
      const parsed = parseLine(line);
      return parsed && holds(parsed);
    });
    this.#toDisk(() => {
      writeFileSync(`${this.#path}.tmp`, kept.map((line) => `${line}\n`).join(""));
      renameSync(`${this.#path}.tmp`, this.#path);
    });
  }

  #toDisk(write: () => void): void {
    try {
      write();
    } catch (cause) {
      throw diskError(cause, this.#path);
    }
  }
}

/** Undefined for a line that a kill cut short. */
function parseLine(line: string): { step: number } | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
