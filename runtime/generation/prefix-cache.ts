import type { InferenceModel } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";

/** Ids below which a cache isn't worth another's place. */
const WORTH_KEEPING = 16;

/** What a slot's cache holds: keys and values of the first `length` ids. */
interface Slot {
  ids: Int32Array;
  length: number;
  /** When it was last written, by a count. */
  used: number;
}

/** Slots in which no text is: from `idle` on, but for one. */
interface Idle {
  idle: number;
  but?: number;
}

/** A key/value cache whose slots remember which ids they hold, for whatever begins with the same. */
export class PrefixCache {
  readonly state: RunState;
  readonly #slots: Slot[];
  #writes = 0;

  /** @throws ReflowError `memory` where it doesn't fit */
  constructor({ backend, config }: InferenceModel, count: number, rows: number) {
    const { context } = config;
    this.#slots = Array.from({ length: count }, () => ({ ids: new Int32Array(context), length: 0, used: 0 }));
    this.state = new RunState(backend, config, { slots: count, context, rows, logitRows: count });
  }

  /** How many ids a slot holds. */
  length(slot: number): number {
    return this.#slots[slot].length;
  }

  /** Keys and values of these ids have come behind those that the slot held. */
  wrote(slot: number, ids: Int32Array): void {
    const held = this.#slots[slot];
    held.ids.set(ids, held.length);
    held.length += ids.length;
    held.used = ++this.#writes;
  }

  /**
   * Fills an idle slot with as much of a text's beginning as any slot holds, but for the last id: that is run whatever is there,
   * since its logits are asked for. Slots behind this one are idle.
   *
   * @returns how many ids that is
   */
  begin(slot: number, ids: Int32Array): number {
    const shared = (i: number) => commonPrefix(this.#slots[i], ids, ids.length - 1);
    let best = slot;
    for (let i = 0; i < this.#slots.length; i++) if (shared(i) > shared(best)) best = i;
    const common = shared(best);
    if (shared(slot) < this.#slots[slot].length) this.#keep(slot, { idle: slot + 1, but: best });
    if (best !== slot) this.#copy(best, slot, common);
    this.#slots[slot].length = common;
    return common;
  }

  /** A text goes to another slot; what was there goes to an idle one: from `idle` on they are, `but` for one. */
  move(from: number, to: number, { idle, but = from }: Idle): void {
    this.#keep(to, { idle, but });
    this.#copy(from, to, this.#slots[from].length);
    this.#slots[from].length = 0;
    this.#slots[from].used = 0;
  }

  /** Nobody knows what it holds. */
  forget(): void {
    for (const slot of this.#slots) slot.length = 0;
  }

  /** Copies what a slot holds to the idle one that was written longest ago, if it is worth that one's place. */
  #keep(slot: number, { idle, but }: Idle): void {
    const held = this.#slots[slot];
    if (held.length < WORTH_KEEPING) return;
    let oldest: number | undefined;
    for (let i = idle; i < this.#slots.length; i++) {
      if (i === but) continue;
      if (oldest === undefined || this.#slots[i].used < this.#slots[oldest].used) oldest = i;
    }
    if (oldest !== undefined && this.#slots[oldest].used < held.used) this.#copy(slot, oldest, held.length);
  }

  #copy(from: number, to: number, length: number): void {
    const [source, target] = [this.#slots[from], this.#slots[to]];
    this.state.move(from, to, length);
    target.ids.set(source.ids.subarray(0, length));
    target.length = length;
    target.used = source.used;
  }
}

function commonPrefix({ ids, length }: Slot, wanted: Int32Array, most: number): number {
  const end = Math.min(length, most);
  let n = 0;
  while (n < end && ids[n] === wanted[n]) n++;
  return n;
}
