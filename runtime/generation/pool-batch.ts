import { flushToClients, yieldToEventLoop } from "../common/event-loop.ts";
import { forward, type InferenceModel, PREFILL_ROWS } from "../transformer/inference.ts";
import type { EventStream } from "./event-stream.ts";
import { PrefixCache } from "./prefix-cache.ts";
import type { Sequence } from "./sequence.ts";

/** Prompt rows that run together with a few rows of decoding; a token of a running stream then takes about three times as long. */
const LEAST_ROWS = 16;

interface Request {
  sequence: Sequence;
  stream: EventStream;
  /** Called when the request's slot is free. */
  leave(): void;
}

/**
 * Continuous batching (Yu et al. 2022, Orca): requests join a running batch as they arrive and leave it as they end, over one
 * key/value cache. The keys and values of a slot are kept for later prompts with the same prefix.
 */
export class SharedBatch {
  readonly #model: InferenceModel;
  readonly #cache: PrefixCache;
  /** Requests whose prompts have not been started. */
  readonly #waiting: Request[] = [];
  /** The request whose prompt is being prefilled, and its slot. */
  #reading: { request: Request; slot: number } | undefined;
  /** The requests being decoded: the i-th is in slot i. */
  readonly #active: Request[] = [];
  #running = false;
  tokens = 0;
  prefixTokensReused = 0;

  /** @throws ReflowError `memory` if the cache does not fit */
  constructor(model: InferenceModel, slots: number) {
    this.#model = model;
    this.#cache = new PrefixCache(model, slots, Math.max(slots, PREFILL_ROWS));
  }

  /** Adds a request; the caller ensures that a slot is free. Errors go to the request's stream. */
  add(request: Request): void {
    this.#waiting.push(request);
    if (!this.#running) void this.#run();
  }

  free(): void {
    this.#cache.state.free();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#active.length > 0 || this.#reading || this.#waiting.length > 0) {
      // Yields first, because other requests may arrive with this one. After each step its tokens are sent before the
      // next step is computed: with 16 streams the 99th percentile of the time per token is 16 ms instead of 23.
      await flushToClients();
      try {
        await this.#readPrompts();
        await this.#decode();
      } catch (reason) {
        this.#fail(reason);
      }
    }
    this.#running = false;
  }

  /** Prefills prompts, a bounded number of rows at a time; complete prompts get their first token. */
  async #readPrompts(): Promise<void> {
    this.#removeEnded();
    const streams = this.#active.length;
    let rows = streams > 0 ? Math.min(PREFILL_ROWS, Math.max(LEAST_ROWS, streams)) : PREFILL_ROWS;
    while (rows > 0 && (this.#reading || this.#waiting.length > 0)) {
      this.#reading ??= this.#begin();
      const { request, slot } = this.#reading;
      const { sequence } = request;
      const from = this.#cache.length(slot);
      const ids = sequence.ids.subarray(from, Math.min(sequence.length, from + rows));
      const whole = from + ids.length === sequence.length;
      const step = { ids, start: Int32Array.of(from), slot, logits: whole ? 1 : 0 };
      const logits = await forward(this.#model, this.#cache.state, step);
      this.#cache.wrote(slot, ids);
      rows -= ids.length;
      if (logits) {
        const values = (await this.#model.backend.read(logits)) as Float32Array;
        this.#reading = undefined;
        // A stream may have ended since the prompt was started.
        const place = this.#active.length;
        if (slot !== place) this.#cache.move(slot, place, { idle: place + 1 });
        this.#active.push(request);
        this.#say(request, values);
      }
      await yieldToEventLoop();
      this.#removeEnded();
    }
  }

  /** Assigns the slot after the decoding ones to the next request. */
  #begin(): { request: Request; slot: number } {
    const reading = { request: this.#waiting.shift()!, slot: this.#active.length };
    this.#reading = reading;
    const { ids, length } = reading.request.sequence;
    this.prefixTokensReused += this.#cache.begin(reading.slot, ids.subarray(0, length));
    return reading;
  }

  /** Decodes one token for each stream. */
  async #decode(): Promise<void> {
    const streams = this.#active;
    if (streams.length === 0) return;
    const ids = Int32Array.from(streams, ({ sequence }) => sequence.ids[sequence.length - 1]);
    const start = Int32Array.from(streams, ({ sequence }) => sequence.length - 1);
    const step = { ids, start, slot: 0, logits: streams.length };
    const logits = (await forward(this.#model, this.#cache.state, step))!;
    const values = (await this.#model.backend.read(logits)) as Float32Array;
    const V = logits.shape[1];
    for (const [i, request] of streams.entries()) {
      this.#cache.wrote(i, ids.subarray(i, i + 1));
      this.#say(request, values.subarray(i * V, (i + 1) * V));
    }
    this.#removeEnded();
  }

  #say({ sequence, stream }: Request, logits: Float32Array): void {
    try {
      for (const event of sequence.next(logits)) {
        if (event.type === "token") this.tokens++;
        stream.push(event);
      }
      if (sequence.finished) stream.end();
    } catch (reason) {
      // If no logit is finite, only this request fails.
      sequence.finished = true;
      stream.end({ reason });
    }
  }

  /** Frees the slots of requests that have finished or whose reader has left. */
  #removeEnded(): void {
    for (let i = this.#waiting.length - 1; i >= 0; i--) {
      if (isGone(this.#waiting[i])) this.#waiting.splice(i, 1)[0].leave();
    }
    if (this.#reading && isGone(this.#reading.request)) {
      this.#reading.request.leave();
      this.#reading = undefined;
    }
    for (let i = this.#active.length - 1; i >= 0; i--) {
      const request = this.#active[i];
      if (!isGone(request)) continue;
      // The last request moves to its slot.
      const last = this.#active.pop()!;
      if (last !== request) {
        this.#active[i] = last;
        const place = this.#active.length;
        this.#cache.move(place, i, { idle: place + 1, but: this.#reading?.slot });
      }
      request.leave();
    }
  }

  /** A device error fails every request and invalidates the cache. */
  #fail(reason: unknown): void {
    const failed = [...this.#active.splice(0), ...(this.#reading ? [this.#reading.request] : [])];
    this.#reading = undefined;
    this.#cache.forget();
    for (const { stream, leave } of failed) {
      stream.end({ reason });
      leave();
    }
  }
}

const isGone = ({ sequence, stream }: Request): boolean => sequence.finished || stream.left.aborted;
