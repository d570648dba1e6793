import type { GenerateEvent } from "./generate.ts";

type Result = IteratorResult<GenerateEvent, void>;

/**
 * A request's events on their way to its reader, who may be slower than they come. It is left by the iterator's `return`, which
 * of a generator's would wait for the next event, or by a signal.
 */
export class EventStream implements AsyncGenerator<GenerateEvent, void, undefined> {
  readonly #events: GenerateEvent[] = [];
  /** Calls of `next` that came before their event. */
  readonly #readers: PromiseWithResolvers<Result>[] = [];
  readonly #leaving = new AbortController();
  readonly #signal: AbortSignal | undefined;
  #begin: ((stream: EventStream) => void) | undefined;
  #ended = false;
  /** Thrown once, after the last event. */
  #error: { reason: unknown } | undefined;

  /**
   * @param begin called when the first event is asked for; what it throws is the stream's error
   * @param signal the reader leaves when it is aborted, and is told its reason
   */
  constructor(begin: (stream: EventStream) => void, signal?: AbortSignal) {
    this.#begin = begin;
    this.#signal = signal;
  }

  /** Aborted when the reader leaves before the end. */
  get left(): AbortSignal {
    return this.#leaving.signal;
  }

  push(event: GenerateEvent): void {
    if (this.#ended) return;
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ done: false, value: event });
    else this.#events.push(event);
  }

  /** After the last event; with an error where it ends by one. */
  end(error?: { reason: unknown }): void {
    if (this.#ended) return;
    this.#ended = true;
    // A signal may outlive many requests.
    this.#signal?.removeEventListener("abort", this.#abort);
    const first = error && this.#readers.shift();
    if (first) first.reject(error.reason);
    else this.#error = error;
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined });
  }

  async next(): Promise<Result> {
    this.#start();
    const event = this.#events.shift();
    if (event) return { done: false, value: event };
    if (this.#error) {
      const { reason } = this.#error;
      this.#error = undefined;
      throw reason;
    }
    if (this.#ended) return { done: true, value: undefined };
    const reader = Promise.withResolvers<Result>();
    this.#readers.push(reader);
    return reader.promise;
  }

  async return(): Promise<Result> {
    this.#leave();
    return { done: true, value: undefined };
  }

  async throw(error: unknown): Promise<Result> {
    this.#leave();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leave();
  }

  #start(): void {
    const begin = this.#begin;
    if (!begin || this.#ended) return;
    this.#begin = undefined;
    try {
      this.#signal?.throwIfAborted();
      this.#signal?.addEventListener("abort", this.#abort);
      begin(this);
    } catch (reason) {
      this.end({ reason });
    }
  }

  readonly #abort = () => this.#leave({ reason: this.#signal!.reason });

  /** What wasn't read is nobody's any more. */
  #leave(error?: { reason: unknown }): void {
    const early = !this.#ended;
    this.#events.length = 0;
    this.#error = undefined;
    this.end(error);
    if (early) this.#leaving.abort();
  }
}
