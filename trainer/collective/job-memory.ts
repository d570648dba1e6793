import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { writeFully } from "../../runtime/formats/disk.ts";
import { mapFile } from "./map-file.ts";

/** Floats of a slot: 1 MiB. Of 2^14 to 2^20 the fastest, for 2 and for 4 ranks. */
export const SLOT = 2 ** 18;

/** Words of a cache line: what different processes write is on different ones. */
const LINE = 16;
/** Words of the first line, and the states of the first word. */
const [STATE, BLAMED, REASON_BYTES, JOINED] = [0, 1, 2, 3];
const [NOT_FAILED, BEING_WRITTEN, FAILED] = [0, 1, 2];
/** Words of a rank's line. */
const [MEETING, LENGTH, PID] = [0, 1, 2];
const MOST_REASON_BYTES = 4096;

const reasonAt = (world: number) => 4 * LINE * (1 + world);
const slotsAt = (world: number) => reasonAt(world) + MOST_REASON_BYTES;
const bytesOf = (world: number) => slotsAt(world) + 2 * world * SLOT * 4;

/** Which rank ended a job, and why. */
export interface Failure {
  rank: number;
  reason: string;
}

/**
 * What the processes of a job on one machine share: a file in memory, made by whoever starts them and mapped by all of
 * them. Its name is gone as soon as every rank has joined, so that nothing is left behind however they end.
 *
 *     state, blamed rank, bytes of the reason, ranks that joined    a line of 16 words
 *     meetings reached, values to sum, pid                          a line for each rank
 *     reason                                                        4096 bytes of UTF-8
 *     slots                                                         two for each rank
 */
export class JobMemory {
  readonly #head: Int32Array;
  readonly #ranks: Int32Array[];
  readonly #reason: Uint8Array;
  /** Two sets of a slot (SLOT) for each rank: while some still read the one, others write the other. */
  readonly slots: readonly [Float32Array[], Float32Array[]];

  private constructor(
    readonly path: string,
    readonly world: number,
  ) {
    const bytes = mapFile(path, bytesOf(world));
    const line = (n: number) => new Int32Array(bytes, 4 * LINE * n, LINE);
    const slot = (n: number) => new Float32Array(bytes, slotsAt(world) + 4 * SLOT * n, SLOT);
    const ranks = Array.from({ length: world }, (_, rank) => rank);
    this.#head = line(0);
    this.#ranks = ranks.map((rank) => line(1 + rank));
    this.#reason = new Uint8Array(bytes, reasonAt(world), MOST_REASON_BYTES);
    this.slots = [ranks.map(slot), ranks.map((rank) => slot(world + rank))];
  }

  /** @throws ReflowError `memory` where there is no room for it */
  static create(world: number): JobMemory {
    const folder = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    const path = join(folder, `reflow-${process.pid}-${crypto.randomUUID()}`);
    const file = openSync(path, "wx", 0o600);
    try {
      // All of it is written: a file without its pages would end the process that meets the lack of them by a signal.
      const zeros = new Uint8Array(LINE * 2 ** 16);
      for (let left = bytesOf(world); left > 0; left -= zeros.length) {
        writeFully(file, zeros.subarray(0, left));
      }
      return new JobMemory(path, world);
    } catch (cause) {
      rmSync(path);
      const mib = Math.ceil(bytesOf(world) / 2 ** 20);
      throw new ReflowError(
        "memory",
        `${world} ranks share ${mib} MiB in ${folder}, which can't be had: ${(cause as Error).message}`,
        "give it more room (a container's: --shm-size), or use fewer ranks",
        { cause },
      );
    } finally {
      closeSync(file);
    }
  }

  /** As a rank of the job that {@link create} was called for. */
  static join(path: string, { rank, world }: { rank: number; world: number }): JobMemory {
    const memory = new JobMemory(path, world);
    Atomics.store(memory.#ranks[rank], PID, process.pid);
    if (Atomics.add(memory.#head, JOINED, 1) === world - 1) memory.removeName();
    return memory;
  }

  /** The memory itself lasts as long as a process has it. */
  removeName(): void {
    rmSync(this.path, { force: true });
  }

  /** Ends the job. Of several failures the first counts: the others follow from it. */
  fail({ rank, reason }: Failure): void {
    if (Atomics.compareExchange(this.#head, STATE, NOT_FAILED, BEING_WRITTEN) !== NOT_FAILED) return;
    const { written } = new TextEncoder().encodeInto(reason, this.#reason);
    this.#head[BLAMED] = rank;
    this.#head[REASON_BYTES] = written;
    Atomics.store(this.#head, STATE, FAILED);
  }

  get failure(): Failure | undefined {
    if (Atomics.load(this.#head, STATE) !== FAILED) return undefined;
    const text = this.#reason.slice(0, this.#head[REASON_BYTES]);
    return { rank: this.#head[BLAMED], reason: new TextDecoder().decode(text) };
  }

  /** A rank reaches its n-th meeting, to sum so many values. */
  arrive(rank: number, meeting: number, length: number): void {
    Atomics.store(this.#ranks[rank], LENGTH, length);
    Atomics.store(this.#ranks[rank], MEETING, meeting);
  }

  /** Whether a rank has reached a meeting. Their numbers wrap around. */
  hasReached(rank: number, meeting: number): boolean {
    return ((Atomics.load(this.#ranks[rank], MEETING) - meeting) | 0) >= 0;
  }

  lengthOf(rank: number): number {
    return Atomics.load(this.#ranks[rank], LENGTH);
  }

  pidOf(rank: number): number {
    return Atomics.load(this.#ranks[rank], PID);
  }
}
