import { withResolvers } from "../common/compatibility.ts";
import { ReflowError } from "../common/errors.ts";

/** Sizes of an {@link AdmissionQueue}. */
export interface AdmissionQueueOptions {
  /** Slots that may be held at once. */
  slots: number;
  /** Requests that may wait for a slot; further ones are refused. */
  queue: number;
}

/** How a request enters the queue. */
export interface AdmissionOptions {
  /** Slots that the request holds while it runs. Default: 1. */
  slots?: number;
  /** Whether the request counts towards the number that may wait, and is refused when that many do. Default: true. */
  counted?: boolean;
  /** Removes the request from the queue while it waits. */
  signal?: AbortSignal;
}

interface Waiting {
  slots: number;
  counted: boolean;
  begin(): void;
}

/**
 * Admits a bounded number of requests at once; the others wait in first-in, first-out order, and those that would exceed the
 * queue's length are refused with a `busy` error. A request that needs several slots is not overtaken by later ones.
 *
 * @example
 * const queue = new AdmissionQueue({ slots: 2, queue: 64 });
 * const result = await queue.run(() => analyse(text), { signal });
 */
export class AdmissionQueue {
  readonly slots: number;
  /** Counted requests that may wait. */
  readonly queue: number;
  readonly #waiting: Waiting[] = [];
  #held = 0;

  constructor({ slots, queue }: AdmissionQueueOptions) {
    this.slots = slots;
    this.queue = queue;
  }

  /** Slots that are held. */
  get active(): number {
    return this.#held;
  }

  /** Requests that wait and are counted. */
  get queued(): number {
    return this.#waiting.filter(({ counted }) => counted).length;
  }

  /** Whether the next counted request would be refused. */
  get isFull(): boolean {
    const mustWait = this.#waiting.length > 0 || this.#held === this.slots;
    return mustWait && this.queued >= this.queue;
  }

  /** @throws ReflowError `busy` if the next counted request would be refused */
  throwIfFull(): void {
    if (!this.isFull) return;
    throw new ReflowError("busy", `the queue is full (${this.queued} requests waiting)`, "retry in a moment");
  }

  /**
   * Calls `begin` once the slots are free, at once if they are now. They are held until {@link release}. Never refuses: see
   * {@link throwIfFull}. Aborting the signal after `begin` has no effect.
   */
  enter(begin: () => void, { slots = 1, counted = true, signal }: AdmissionOptions = {}): void {
    const waiting: Waiting = {
      slots,
      counted,
      begin() {
        signal?.removeEventListener("abort", abort);
        begin();
      },
    };
    const abort = () => this.#remove(waiting);
    this.#waiting.push(waiting);
    signal?.addEventListener("abort", abort);
    this.#admit();
  }

  /** Frees slots, and admits the requests that now fit. */
  release(slots = 1): void {
    this.#held -= slots;
    this.#admit();
  }

  /**
   * Runs `compute` when it is admitted, and releases its slots afterwards.
   *
   * @throws ReflowError `busy` at once if the request is counted and the queue is full
   * @throws the signal's reason if it is aborted before the computation begins
   */
  async run<T>(compute: () => Promise<T>, options: AdmissionOptions = {}): Promise<T> {
    const { slots = 1, counted = true, signal } = options;
    signal?.throwIfAborted();
    if (counted) this.throwIfFull();
    const { promise: admitted, resolve: begin, reject } = withResolvers<void>();
    const abort = () => reject(signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    // Once `begin` has resolved the promise, a late abort changes nothing.
    this.enter(begin, { slots, counted, signal });
    await admitted;
    signal?.removeEventListener("abort", abort);
    try {
      return await compute();
    } finally {
      this.release(slots);
    }
  }

  /** As {@link run}, while nothing else runs. */
  exclusive<T>(compute: () => Promise<T>, options: Omit<AdmissionOptions, "slots"> = {}): Promise<T> {
    return this.run(compute, { ...options, slots: this.slots });
  }

  /** Later requests may fit where the removed one did not. */
  #remove(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    this.#admit();
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#held + this.#waiting[0].slots <= this.slots) {
      const { slots, begin } = this.#waiting.shift()!;
      this.#held += slots;
      begin();
    }
  }
}
