import { ReflowError } from "../../runtime/common/errors.ts";
import type { TokenSource } from "./shards.ts";

export const ORDERS = ["shuffled", "sequential"] as const;
export type Order = (typeof ORDERS)[number];

/**
 * The number of windows of T inputs in a source. Window i is tokens [i·T, i·T+T], the last of which is only a target.
 *
 * @throws ReflowError `data` if the source is shorter than one window
 */
export function countWindows(source: TokenSource, length: number): number {
  const windows = Math.floor((source.length - 1) / length);
  if (windows >= 1) return windows;
  throw new ReflowError(
    "data",
    `${source.name} has ${source.length} tokens, but a window of context ${length} requires ${length + 1}`,
    "pass more text, or a smaller --context",
  );
}

export interface SamplerOptions {
  /** Windows in an epoch, at least 1; see {@link countWindows}. */
  windows: number;
  order: Order;
  /** An integer. */
  seed: number;
}

/**
 * Selects the window for the n-th sequence of a run, as a function of (seed, n) only. A run can therefore be resumed from a
 * single integer, and the batches do not depend on how they are distributed over ranks.
 *
 * Every epoch contains every window once: in sequence with `sequential`; with `shuffled`, in the order of a permutation
 * keyed by (seed, epoch), a Feistel network (Luby & Rackoff 1988) on the smallest power of 4 that is not less than the
 * number of windows. Indexes out of range are permuted again (cycle walking; Black & Rogaway 2002), fewer than 4 times on
 * average.
 *
 * @example
 * const sampler = new Sampler({ windows: countWindows(train, T), order: "shuffled", seed: 1 });
 * readBatch(train, sampler, step * B, ids, targets, T);
 */
export class Sampler {
  readonly windows: number;
  readonly #order: Order;
  readonly #seed: number;
  /** Number of bits of half an index. */
  readonly #bits: number;
  #epoch = -1;
  readonly #keys = new Int32Array(ROUNDS);

  constructor({ windows, order, seed }: SamplerOptions) {
    if (!(Number.isInteger(windows) && windows >= 1 && windows <= 2 ** 32)) {
      throw new RangeError(`${windows} windows`);
    }
    this.windows = windows;
    this.#order = order;
    this.#seed = seed;
    this.#bits = Math.max(1, Math.ceil(Math.log2(windows) / 2));
  }

  /** The window of sequence n, counted from 0 over all epochs. */
  window(n: number): number {
    const index = n % this.windows;
    if (this.#order === "sequential") return index;
    this.#useKeysOf(Math.floor(n / this.windows));
    let permuted = this.#permute(index);
    while (permuted >= this.windows) permuted = this.#permute(permuted);
    return permuted;
  }

  #useKeysOf(epoch: number): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    const key = mix(mix(mix(0, this.#seed), Math.floor(this.#seed / 2 ** 32)), epoch);
    for (let round = 0; round < ROUNDS; round++) this.#keys[round] = mix(key, round);
  }

  #permute(index: number): number {
    const mask = 2 ** this.#bits - 1;
    let left = index >>> this.#bits;
    let right = index & mask;
    for (const key of this.#keys) {
      const next = left ^ (mix(key, right) & mask);
      left = right;
      right = next;
    }
    return ((left << this.#bits) | right) >>> 0;
  }
}

const ROUNDS = 8;

/** A 32-bit hash of two integers, with the finalizer of MurmurHash3. */
function mix(key: number, value: number): number {
  let x = Math.imul(key ^ value, 0x9e3779b1) + key;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/**
 * Reads the sequences `first`, `first` + 1, … of a run, B in all.
 *
 * @param ids (B,T), overwritten
 * @param targets (B,T), overwritten: the token after each
 */
export function readBatch(
  source: TokenSource,
  sampler: Sampler,
  first: number,
  ids: Int32Array,
  targets: Int32Array,
  length: number,
): void {
  for (let b = 0; b * length < ids.length; b++) {
    readWindow(source, sampler.window(first + b), b, ids, targets, length);
  }
}

/** Reads one window of a source into row `b` of a batch. */
export function readWindow(
  source: TokenSource,
  window: number,
  b: number,
  ids: Int32Array,
  targets: Int32Array,
  length: number,
): void {
  const tokens = new Int32Array(length + 1);
  source.read(window * length, tokens);
  ids.set(tokens.subarray(0, length), b * length);
  targets.set(tokens.subarray(1), b * length);
}
