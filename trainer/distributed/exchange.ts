/** Messages between ranks, built on the single operation of a {@link Collective}: all-reduce. */
import { createHash } from "node:crypto";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Collective } from "../collective/collective.ts";

/**
 * Sums values over the ranks and gathers a few numbers from every rank, in one all-reduce.
 *
 * The numbers travel as bytes: each byte is a value of its own, to which the other ranks add zeros. They therefore arrive
 * bit for bit on any wire, including one with 8 significant bits.
 */
export class Exchange {
  /** The values to sum; overwritten by their sums. */
  readonly values: Float32Array;
  readonly #all: Float32Array;
  readonly #messages: Float32Array;

  constructor(
    readonly collective: Collective,
    { values, numbers }: { values: number; numbers: number },
  ) {
    this.#all = new Float32Array(values + collective.world * numbers * 8);
    this.values = this.#all.subarray(0, values);
    this.#messages = this.#all.subarray(values);
  }

  /** Replaces `values` by their sums over the ranks. Resolves to the numbers of every rank, by rank. */
  async sumAndGather(...numbers: number[]): Promise<number[][]> {
    const { rank, world } = this.collective;
    const bytes = 8 * numbers.length;
    this.#messages.fill(0).set(new Uint8Array(Float64Array.from(numbers).buffer), rank * bytes);
    await this.collective.allReduce(this.#all);
    return Array.from({ length: world }, (_, from) => {
      const message = Uint8Array.from(this.#messages.subarray(from * bytes, (from + 1) * bytes));
      return [...new Float64Array(message.buffer)];
    });
  }
}

/** Copies the values of rank `from` to all ranks, bit for bit. */
export async function broadcast(collective: Collective, values: Float32Array, from: number): Promise<void> {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const wire = new Float32Array(bytes.length);
  if (collective.rank === from) wire.set(bytes);
  await collective.allReduce(wire);
  bytes.set(wire);
}

/** Waits until every rank has called it. */
export async function barrier(collective: Collective): Promise<void> {
  await collective.allReduce(new Float32Array(1));
}

/**
 * Compares a value that every rank has determined independently, as JSON.
 *
 * @param what the value's name, for the error
 * @throws ReflowError `usage` on every rank if the values differ
 */
export async function requireAgreement(collective: Collective, value: unknown, what: string): Promise<void> {
  const digest = createHash("sha256").update(JSON.stringify(value)).digest().readUInt32LE();
  const digests = await new Exchange(collective, { values: 0, numbers: 1 }).sumAndGather(digest);
  const other = digests.findIndex(([theirs]) => theirs !== digests[0][0]);
  if (other < 0) return;
  throw new ReflowError(
    "usage",
    `rank ${other} and rank 0 differ in ${what}`,
    "give all ranks the same flags, and folders that all of them share",
  );
}
