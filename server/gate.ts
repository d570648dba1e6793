import { ReflowError } from "../runtime/common/errors.ts";

/** Lets a few computations run at once, and some more wait, in their order: each holds memory of its own while it runs. */
export class Gate {
  readonly #places: number;
  readonly #queue: number;
  #free: number;
  readonly #waiting: { places: number; enter: () => void }[] = [];

  constructor({ places, queue }: { places: number; queue: number }) {
    this.#places = places;
    this.#queue = queue;
    this.#free = places;
  }

  /**
   * @throws ReflowError `busy` at once where too many wait
   * @throws the signal's reason, once it is aborted before it is its turn
   */
  run<T>(compute: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#run(1, compute, signal);
  }

  /** The same, while nothing else runs. */
  alone<T>(compute: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#run(this.#places, compute, signal);
  }

  async #run<T>(places: number, compute: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    await this.#enter(places, signal);
    try {
      return await compute();
    } finally {
      this.#free += places;
      this.#admit();
    }
  }

  /** @throws ReflowError `busy` where too many wait */
  refuseIfFull(): void {
    if (this.#waiting.length < this.#queue) return;
    const message = `${this.#waiting.length} requests are waiting already`;
    throw new ReflowError("busy", message, "try again in a moment");
  }

  async #enter(places: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.refuseIfFull();
    const { promise, resolve: enter, reject } = Promise.withResolvers<void>();
    const leave = () => {
      const at = this.#waiting.findIndex((each) => each.enter === enter);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      reject(signal!.reason);
      // Who came after may fit in where this one didn't.
      this.#admit();
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.#waiting.push({ places, enter });
    this.#admit();
    await promise;
    signal?.removeEventListener("abort", leave);
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#waiting[0].places <= this.#free) {
      const { places, enter } = this.#waiting.shift()!;
      this.#free -= places;
      enter();
    }
  }
}
