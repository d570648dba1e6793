import type { StreamingDecoder } from "../text/tokenizer.ts";

/** A sequence's text as it is generated, up to the first stop string. */
export class StoppableText {
  readonly #decoder: StreamingDecoder;
  readonly #stops: readonly string[];
  /** The text's end, as long as a stop string could begin there. */
  #held = "";
  #stopped = false;

  constructor(decoder: StreamingDecoder, stops: readonly string[]) {
    this.#decoder = decoder;
    this.#stops = stops;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** What can be said once this id is known: text that no stop string takes back. */
  push(id: number): string {
    const text = this.#held + this.#decoder.push(id);
    const stop = Math.min(...this.#stops.map((s) => text.indexOf(s)).filter((at) => at >= 0));
    this.#stopped = stop < Infinity;
    const end = this.#stopped ? stop : text.length - Math.max(0, ...this.#stops.map((s) => overlap(text, s)));
    this.#held = this.#stopped ? "" : text.slice(end);
    return text.slice(0, end);
  }

  /** What is still held back, where no stop string ended the text. */
  end(): string {
    return this.#stopped ? "" : this.#held + this.#decoder.end();
  }
}

/** How many of the text's last characters are a stop string's first, without being all of it. */
function overlap(text: string, stop: string): number {
  let n = Math.min(text.length, stop.length - 1);
  while (n > 0 && !text.endsWith(stop.slice(0, n))) n--;
  return n;
}
