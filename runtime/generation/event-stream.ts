import { type Deferred, withResolvers } from "../common/compatibility.ts";
import type { GenerateEvent } from "./options.ts";

type Result = IteratorResult<GenerateEvent, void>;

/**
 * A queue of a request's events between the batch and a reader that may be slower. The reader leaves through the iterator's
 * `return` (which in a generator would wait for the next event) or a signal.
 */
export class EventStream implements AsyncGenerator<GenerateEvent, void, undefined> {
  readonly #events: GenerateEvent[] = [];
  /** Pending calls of `next`. */
  readonly #readers: Deferred<Result>[] = [];
  readonly #leaving = new AbortController();
  readonly #signal: AbortSignal | undefined;
  #begin: ((stream: EventStream) => void) | undefined;
  #ended = false;
  /** An error to throw once, after the last event. */
  #error: { reason: unknown } | undefined;

  /**
   * @param begin called when the first event is requested; an error it throws becomes the stream's
   * @param signal when aborted, the reader leaves and receives the signal's reason
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

  /** Ends the stream after the last event, optionally with an error. */
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
    const reader = withResolvers<Result>();
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

  /** Discards unread events. */
  #leave(error?: { reason: unknown }): void {
    const early = !this.#ended;
    this.#events.length = 0;
    this.#error = undefined;
    this.end(error);
    if (early) this.#leaving.abort();
  }
}
