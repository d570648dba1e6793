import type { InferenceModel } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";

/** A cached prefix shorter than this is not worth evicting another. */
const WORTH_KEEPING = 16;

/** The content of a slot: keys and values of the first `length` ids. */
interface Slot {
  ids: Int32Array;
  length: number;
  /** A counter value of the last write, for eviction of the oldest. */
  used: number;
}

/** The slots without a running sequence: from `idle` on, except `but`. */
interface Idle {
  idle: number;
  but?: number;
}

/** A key/value cache whose slots remember their ids, so that prompts with a common prefix can reuse them. */
export class PrefixCache {
  readonly state: RunState;
  readonly #slots: Slot[];
  #writes = 0;

  /** @throws ReflowError `memory` if it does not fit */
  constructor({ backend, config }: InferenceModel, count: number, rows: number) {
    const { context } = config;
    this.#slots = Array.from({ length: count }, () => ({ ids: new Int32Array(context), length: 0, used: 0 }));
    this.state = new RunState(backend, config, { slots: count, context, rows, logitRows: count });
  }

  /** The number of ids that a slot holds. */
  length(slot: number): number {
    return this.#slots[slot].length;
  }

  /** Records that keys and values of these ids were appended to a slot. */
  wrote(slot: number, ids: Int32Array): void {
    const held = this.#slots[slot];
    held.ids.set(ids, held.length);
    held.length += ids.length;
    held.used = ++this.#writes;
  }

  /**
   * Fills an idle slot with the longest prefix of a text that any slot holds, excluding the last id, which always runs because
   * its logits are needed. Slots after this one must be idle.
   *
   * @returns the number of ids in the prefix
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

  /** Moves a sequence to another slot, whose previous content moves to an idle slot. */
  move(from: number, to: number, { idle, but = from }: Idle): void {
    this.#keep(to, { idle, but });
    this.#copy(from, to, this.#slots[from].length);
    this.#slots[from].length = 0;
    this.#slots[from].used = 0;
  }

  /** Marks the content of a slot as unknown. */
  forget(): void {
    for (const slot of this.#slots) slot.length = 0;
  }

  /** Copies a slot's content to the least recently written idle slot, if it is worth more than the content there. */
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
