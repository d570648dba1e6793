import { sendTurn, takeTurn } from "../common/event-loop.ts";
import { forward, type InferenceModel, PREFILL_ROWS } from "../transformer/inference.ts";
import type { EventStream } from "./event-stream.ts";
import { PrefixCache } from "./prefix-cache.ts";
import type { Sequence } from "./sequence.ts";

/** Rows of prompts that run beside a few rows of decoding: streams wait some three times as long for a token then. */
const LEAST_ROWS = 16;

interface Request {
  sequence: Sequence;
  stream: EventStream;
  /** Called when its slot is free. */
  leave(): void;
}

/**
 * Continuous batching (Yu et al. 2022, Orca): requests join a running batch as they come and leave it as they end, over one
 * key/value cache. What a slot has computed stays there, for whatever begins with the same ids.
 */
export class SharedBatch {
  readonly #model: InferenceModel;
  readonly #cache: PrefixCache;
  /** Whose prompts have not been begun. */
  readonly #waiting: Request[] = [];
  /** The request whose prompt is being read, and its slot. */
  #reading: { request: Request; slot: number } | undefined;
  /** Those that are decoded: the i-th is in slot i. */
  readonly #active: Request[] = [];
  #running = false;
  tokens = 0;
  prefixTokensReused = 0;

  /** @throws ReflowError `memory` where the cache doesn't fit */
  constructor(model: InferenceModel, slots: number) {
    this.#model = model;
    this.#cache = new PrefixCache(model, slots, Math.max(slots, PREFILL_ROWS));
  }

  /** Generates one more text: there must be fewer than there are slots. What goes wrong is told to its stream. */
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
      // First of all: others may come with this one. After each step, its tokens are sent before the next one is computed: with 16
      // streams one token in a hundred comes after 16 ms, not 23.
      await sendTurn();
      try {
        await this.#readPrompts();
        await this.#decode();
      } catch (reason) {
        this.#fail(reason);
      }
    }
    this.#running = false;
  }

  /** Reads prompts, as many rows as streams can wait for; those that are read whole have their first token. */
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
        // A stream may have ended since the prompt was begun.
        const place = this.#active.length;
        if (slot !== place) this.#cache.move(slot, place, { idle: place + 1 });
        this.#active.push(request);
        this.#say(request, values);
      }
      await takeTurn();
      this.#removeEnded();
    }
  }

  /** Gives the next request the slot after the streams'. */
  #begin(): { request: Request; slot: number } {
    const reading = { request: this.#waiting.shift()!, slot: this.#active.length };
    this.#reading = reading;
    const { ids, length } = reading.request.sequence;
    this.prefixTokensReused += this.#cache.begin(reading.slot, ids.subarray(0, length));
    return reading;
  }

  /** A token for each stream. */
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
      // No logit is finite: this request's alone.
      sequence.finished = true;
      stream.end({ reason });
    }
  }

  /** Frees the slots of those that are finished, or that nobody waits for any more. */
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
      // The last takes its place.
      const last = this.#active.pop()!;
      if (last !== request) {
        this.#active[i] = last;
        const place = this.#active.length;
        this.#cache.move(place, i, { idle: place + 1, but: this.#reading?.slot });
      }
      request.leave();
    }
  }

  /** A device that fails fails everybody, and what the cache holds is not known any more. */
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
