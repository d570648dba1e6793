import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { diskError } from "../../runtime/formats/disk.ts";

/** A file of a run with an object a line, by step. */
export class StepLog<Entry extends { step: number }> {
  readonly #path: string;

  constructor(run: string, name: string) {
    this.#path = join(run, name);
  }

  /**
   * Adds a line.
   *
   * @param replaces lines of the same step that it takes the place of
   * @throws ReflowError `checkpoint` where the disk is full, for example
   */
  append(entry: Entry, replaces?: (line: Entry) => boolean): void {
    if (replaces) this.#keep((line) => line.step !== entry.step || !replaces(line));
    this.#toDisk(() => appendFileSync(this.#path, `${JSON.stringify(entry)}\n`));
  }

  /** Drops the lines beyond a step: what they tell of will be done again. */
  cut(step: number): void {
    this.#keep((line) => line.step <= step);
  }

  #keep(holds: (line: Entry) => boolean): void {
    if (!existsSync(this.#path)) return;
    const kept = readLines<Entry>(this.#path).filter(holds);
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

/** `metrics.jsonl` of a run. */
export class Metrics extends StepLog<{ step: number } & Record<string, number>> {
  constructor(run: string) {
    super(run, "metrics.jsonl");
  }

  /** Adds a line. An evaluation takes the place of an earlier one of the same step. @throws ReflowError as `append` */
  write(entry: { step: number } & Record<string, number>): void {
    this.append(entry, "valLoss" in entry ? (line) => "valLoss" in line : undefined);
  }
}

/** The objects of a file, but for a line that a kill cut short. */
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
