import { ReflowError } from "../common/errors.ts";
import type { ModelConfig } from "../config/config.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { stateBytes } from "../transformer/run-state.ts";
import { EventStream } from "./event-stream.ts";
import { type GenerateEvent, type GenerateOptions, generate, type Prompt } from "./generate.ts";
import { SharedBatch } from "./pool-batch.ts";
import { startSequences } from "./sequence.ts";

export interface PoolOptions {
  /** Requests at once, each with a cache of the whole context. As many as 512 MiB hold where it isn't said, and 64 at most. */
  slots?: number;
  /** Requests that wait for a slot; more are turned away. Default 256. */
  queue?: number;
}

/** A pool's counts: now, and since it was made. */
export interface PoolStats {
  slots: number;
  /** Requests that may wait for one. */
  queue: number;
  /** Slots that are taken: by requests, or all of them by what has the model alone. */
  active: number;
  /** Requests that wait for a slot. */
  queued: number;
  /** Tokens generated. */
  tokens: number;
  /** Tokens of prompts whose keys and values were in the cache already. */
  prefixTokensReused: number;
}

const MOST_SLOTS = 64;
const CACHE_BYTES = 2 ** 29;

/** Who waits for slots. */
interface Turn {
  slots: number;
  /** Whether it is a request. */
  counts: boolean;
  /** The slots are its own now, until it gives them back. */
  begin(): void;
}

/**
 * Generates for many at once. Nothing else may change the model meanwhile: see {@link GenerationPool.exclusive}.
 *
 * @example
 * const pool = model.pool({ slots: 16 });
 * await Promise.all(prompts.map((prompt) => Array.fromAsync(pool.generate(prompt, { maxTokens: 20 }))));
 */
export class GenerationPool {
  readonly #model: InferenceModel;
  readonly #slots: number;
  readonly #queue: number;
  readonly #batch: SharedBatch;
  /** In the order they came: the first waits for its slots, and the others for the first. */
  readonly #line: Turn[] = [];
  #taken = 0;
  /** Tokens of requests beside the batch. */
  #tokens = 0;
  #drained: Promise<void> | undefined;

  /** @throws ReflowError `usage` for impossible sizes, `memory` where the cache doesn't fit */
  constructor(model: InferenceModel, { slots = defaultSlots(model.config), queue = 256 }: PoolOptions = {}) {
    for (const [name, value, least] of [["slots", slots, 1] as const, ["queue", queue, 0] as const]) {
      if (Number.isInteger(value) && value >= least) continue;
      throw new ReflowError("usage", `${name} is ${value}`, `use a whole number from ${least} on`);
    }
    this.#model = model;
    this.#slots = slots;
    this.#queue = queue;
    this.#batch = new SharedBatch(model, slots);
  }

  stats(): PoolStats {
    return {
      slots: this.#slots,
      queue: this.#queue,
      active: this.#taken,
      queued: this.#queued,
      tokens: this.#batch.tokens + this.#tokens,
      prefixTokensReused: this.#batch.prefixTokensReused,
    };
  }

  /**
   * Continues a prompt as `Model.generate` does, with the same tokens for the same seed. A request with interventions, hooks or a
   * patch has a slot, but runs beside the batch.
   *
   * It begins when its first event is asked for, and goes on whether or not the others are. Its slot is free at the next
   * token once its signal is aborted, or the iterator is returned.
   *
   * @throws ReflowError as `Model.generate`; `busy` at once where too many wait, or the pool is being drained
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent, void, undefined> {
    return new EventStream((stream) => this.#begin(prompt, options, stream), options.signal);
  }

  #begin(prompt: Prompt, options: GenerateOptions, stream: EventStream): void {
    this.#refuseIfBusy();
    const { interventions, patch, hooks, cached = true } = options;
    if (interventions?.length || patch || hooks || !cached) {
      this.#enter(() => void this.#runBeside(prompt, options, stream), stream);
      return;
    }
    const [sequence] = startSequences(this.#model, [prompt], options);
    for (const event of sequence.begin()) stream.push(event);
    if (sequence.finished) stream.end();
    else this.#enter(() => this.#batch.add({ sequence, stream, leave: () => this.#leave(1) }), stream);
  }

  async #runBeside(prompt: Prompt, options: GenerateOptions, stream: EventStream): Promise<void> {
    let error: { reason: unknown } | undefined;
    try {
      for await (const event of generate(this.#model, [prompt], { ...options, signal: stream.left })) {
        if (event.type === "token") this.#tokens++;
        stream.push(event);
      }
    } catch (reason) {
      error = { reason };
    }
    stream.end(error);
    this.#leave(1);
  }

  /**
   * Runs what changes the model's tables, say, while no request runs: when those that came before have ended. Those that come
   * after it wait, so it must not wait for one of them.
   *
   * @throws the signal's reason, once it is aborted before it is its turn
   */
  async exclusive<T>(run: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const { promise, resolve: begin, reject } = Promise.withResolvers<void>();
    const turn = { slots: this.#slots, counts: false, begin };
    const leave = () => {
      if (this.#leaveLine(turn)) reject(signal!.reason);
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.#line.push(turn);
    this.#admit();
    await promise;
    signal?.removeEventListener("abort", leave);
    try {
      return await run();
    } finally {
      this.#leave(this.#slots);
    }
  }

  /** Takes no more requests, waits for those that it has, and gives the cache's memory back. */
  drain(): Promise<void> {
    this.#drained ??= this.exclusive(async () => this.#batch.free());
    return this.#drained;
  }

  get #queued(): number {
    return this.#line.filter(({ counts }) => counts).length;
  }

  #refuseIfBusy(): void {
    if (this.#drained) throw new ReflowError("busy", "no more requests are taken", "try again later");
    const waits = this.#line.length > 0 || this.#taken === this.#slots;
    if (!waits || this.#queued < this.#queue) return;
    throw new ReflowError("busy", `${this.#queued} requests are waiting already`, "try again in a moment");
  }

  #enter(begin: () => void, stream: EventStream): void {
    const turn = { slots: 1, counts: true, begin };
    this.#line.push(turn);
    stream.left.addEventListener("abort", () => this.#leaveLine(turn));
    this.#admit();
  }

  /** Whether it was still in it. Who came after may have their turn now. */
  #leaveLine(turn: Turn): boolean {
    const at = this.#line.indexOf(turn);
    if (at < 0) return false;
    this.#line.splice(at, 1);
    this.#admit();
    return true;
  }

  #leave(slots: number): void {
    this.#taken -= slots;
    this.#admit();
  }

  #admit(): void {
    while (this.#line.length > 0 && this.#taken + this.#line[0].slots <= this.#slots) {
      const { slots, begin } = this.#line.shift()!;
      this.#taken += slots;
      begin();
    }
  }
}

function defaultSlots(config: ModelConfig): number {
  const { cache } = stateBytes(config, { slots: 1, context: config.context, rows: 1, logitRows: 1 });
  return Math.max(1, Math.min(MOST_SLOTS, Math.floor(CACHE_BYTES / cache)));
}
