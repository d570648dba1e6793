import type { StreamingDecoder } from "../text/tokenizer.ts";

/** The text of a sequence during generation, up to the first stop string. */
export class StoppableText {
  readonly #decoder: StreamingDecoder;
  readonly #stops: readonly string[];
  /** The end of the text that may be the start of a stop string. */
  #held = "";
  #stopped = false;

  constructor(decoder: StreamingDecoder, stops: readonly string[]) {
    this.#decoder = decoder;
    this.#stops = stops;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Adds an id and returns the text that can be released: text that no stop string can still include. */
  push(id: number): string {
    const text = this.#held + this.#decoder.push(id);
    const stop = Math.min(...this.#stops.map((s) => text.indexOf(s)).filter((at) => at >= 0));
    this.#stopped = stop < Infinity;
    const end = this.#stopped ? stop : text.length - Math.max(0, ...this.#stops.map((s) => overlap(text, s)));
    this.#held = this.#stopped ? "" : text.slice(end);
    return text.slice(0, end);
  }

  /** The text still held back, if no stop string has ended the text. */
  end(): string {
    return this.#stopped ? "" : this.#held + this.#decoder.end();
  }
}

/** The length of the longest end of the text that is a proper prefix of a stop string. */
function overlap(text: string, stop: string): number {
  let n = Math.min(text.length, stop.length - 1);
  while (n > 0 && !text.endsWith(stop.slice(0, n))) n--;
  return n;
}
