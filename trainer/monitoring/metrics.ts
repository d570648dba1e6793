import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { diskError } from "../../runtime/formats/disk.ts";

/** A JSONL file in a run's folder, with one object per line, each with its step. */
export class StepLog<Entry extends { step: number }> {
  readonly #path: string;

  constructor(run: string, name: string) {
    this.#path = join(run, name);
  }

  /**
   * Appends a line.
   *
   * @param replaces selects the lines of the same step that the new line replaces
   * @throws ReflowError `checkpoint` if writing fails, for example on a full disk
   */
  append(entry: Entry, replaces?: (line: Entry) => boolean): void {
    if (replaces) this.#filter((line) => line.step !== entry.step || !replaces(line));
    this.#toDisk(() => appendFileSync(this.#path, `${JSON.stringify(entry)}\n`));
  }

  /** Removes the lines after a step, since those steps will be repeated. */
  truncateAfter(step: number): void {
    this.#filter((line) => line.step <= step);
  }

  #filter(keep: (line: Entry) => boolean): void {
    if (!existsSync(this.#path)) return;
    const kept = readLines<Entry>(this.#path).filter(keep);
    this.#toDisk(() => {
      writeFileSync(`${this.#path}.tmp`, kept.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
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

/** The `metrics.jsonl` of a run. */
export class Metrics extends StepLog<{ step: number } & Record<string, number>> {
  constructor(run: string) {
    super(run, "metrics.jsonl");
  }

  /**
   * Appends a line. An evaluation replaces an earlier one of the same step.
   *
   * @throws ReflowError as {@link append} does
   */
  write(entry: { step: number } & Record<string, number>): void {
    this.append(entry, "valLoss" in entry ? (line) => "valLoss" in line : undefined);
  }
}

/** The objects of a JSONL file. Lines cut short by a kill are skipped. */
export function readLines<Entry>(path: string): Entry[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        return [JSON.parse(line)];
      } catch {
        return [];
      }
    });
}
