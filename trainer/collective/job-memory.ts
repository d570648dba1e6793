import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { writeFully } from "../../runtime/formats/disk.ts";
import { mapFile } from "./map-file.ts";

/** Length of a slot in floats: 1 MiB. The fastest of 2^14 to 2^20, for 2 and for 4 ranks. */
export const SLOT_LENGTH = 2 ** 18;

/** Words of a cache line. Different processes write to different lines, to avoid false sharing. */
const LINE = 16;
/** Indexes of the words in the first line, and the states of the first word. */
const [STATE, FAILED_RANK, REASON_BYTES, JOINED] = [0, 1, 2, 3];
const [NOT_FAILED, BEING_WRITTEN, FAILED] = [0, 1, 2];
/** Indexes of the words in a rank's line. */
const [BARRIER, LENGTH, PID] = [0, 1, 2];
const MAX_REASON_BYTES = 4096;

const reasonAt = (world: number) => 4 * LINE * (1 + world);
const slotsAt = (world: number) => reasonAt(world) + MAX_REASON_BYTES;
const bytesOf = (world: number) => slotsAt(world) + 2 * world * SLOT_LENGTH * 4;

/** The rank that ended a job, and its reason. */
export interface Failure {
  rank: number;
  reason: string;
}

/**
 * Memory shared by the processes of a job on one machine: a file in memory, created by the launcher and mapped by every
 * rank. Its name is removed as soon as every rank has joined, so that nothing is left behind however the processes end.
 *
 *     state, failed rank, bytes of the reason, ranks that joined    a line of 16 words
 *     barriers reached, values to sum, pid                          a line for each rank
 *     reason                                                        4096 bytes of UTF-8
 *     slots                                                         two for each rank
 */
export class JobMemory {
  readonly #head: Int32Array;
  readonly #ranks: Int32Array[];
  readonly #reason: Uint8Array;
  /** Two sets with a slot (SLOT_LENGTH) per rank: while some ranks still read one set, others write to the other. */
  readonly slots: readonly [Float32Array[], Float32Array[]];

  private constructor(
    readonly path: string,
    readonly world: number,
  ) {
    const bytes = mapFile(path, bytesOf(world));
    const line = (n: number) => new Int32Array(bytes, 4 * LINE * n, LINE);
    const slot = (n: number) => new Float32Array(bytes, slotsAt(world) + 4 * SLOT_LENGTH * n, SLOT_LENGTH);
    const ranks = Array.from({ length: world }, (_, rank) => rank);
    this.#head = line(0);
    this.#ranks = ranks.map((rank) => line(1 + rank));
    this.#reason = new Uint8Array(bytes, reasonAt(world), MAX_REASON_BYTES);
    this.slots = [ranks.map(slot), ranks.map((rank) => slot(world + rank))];
  }

  /** @throws ReflowError `memory` if there is not enough space */
  static create(world: number): JobMemory {
    const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    const path = join(folder, `reflow-${process.pid}-${crypto.randomUUID()}`);
    const file = openSync(path, "wx", 0o600);
    try {
      // The whole file is written: touching a page that could not be allocated would end the process with a signal.
      const zeros = new Uint8Array(LINE * 2 ** 16);
      for (let left = bytesOf(world); left > 0; left -= zeros.length) {
        writeFully(file, zeros.subarray(0, left));
      }
      return new JobMemory(path, world);
    } catch (cause) {
      rmSync(path);
      if (cause instanceof ReflowError) throw cause;
      const mib = Math.ceil(bytesOf(world) / 2 ** 20);
      throw new ReflowError(
        "memory",
        `could not allocate ${mib} MiB of memory shared by ${world} ranks in ${folder}: ${(cause as Error).message}`,
        "enlarge it (for a container: --shm-size), or use fewer ranks",
        { cause },
      );
    } finally {
      closeSync(file);
    }
  }

  /** Joins the job of {@link create} as one of its ranks. */
  static join(path: string, { rank, world }: { rank: number; world: number }): JobMemory {
    const memory = new JobMemory(path, world);
    Atomics.store(memory.#ranks[rank], PID, process.pid);
    if (Atomics.add(memory.#head, JOINED, 1) === world - 1) memory.removeName();
    return memory;
  }

  /** Removes the file's name. The memory remains until the last process unmaps it. */
  removeName(): void {
    rmSync(this.path, { force: true });
  }

  /** Ends the job. Only the first of several failures is kept, since the others are consequences of it. */
  fail({ rank, reason }: Failure): void {
    if (Atomics.compareExchange(this.#head, STATE, NOT_FAILED, BEING_WRITTEN) !== NOT_FAILED) return;
    const { written } = new TextEncoder().encodeInto(reason, this.#reason);
    this.#head[FAILED_RANK] = rank;
    this.#head[REASON_BYTES] = written;
    Atomics.store(this.#head, STATE, FAILED);
  }

  get failure(): Failure | undefined {
    if (Atomics.load(this.#head, STATE) !== FAILED) return undefined;
    const text = this.#reason.slice(0, this.#head[REASON_BYTES]);
    return { rank: this.#head[FAILED_RANK], reason: new TextDecoder().decode(text) };
  }

  /** Records that a rank has reached a barrier, in an all-reduce of `length` values. */
  arriveAtBarrier(rank: number, barrier: number, length: number): void {
    Atomics.store(this.#ranks[rank], LENGTH, length);
    Atomics.store(this.#ranks[rank], BARRIER, barrier);
  }

  /** Whether a rank has reached a barrier. Barrier numbers wrap around. */
  hasReachedBarrier(rank: number, barrier: number): boolean {
    return ((Atomics.load(this.#ranks[rank], BARRIER) - barrier) | 0) >= 0;
  }

  lengthOf(rank: number): number {
    return Atomics.load(this.#ranks[rank], LENGTH);
  }

  pidOf(rank: number): number {
    return Atomics.load(this.#ranks[rank], PID);
  }
}
