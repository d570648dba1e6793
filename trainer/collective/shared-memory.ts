import { readFileSync } from "node:fs";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Collective } from "./collective.ts";
import { JobMemory, SLOT } from "./job-memory.ts";

export interface SharedMemoryOptions {
  rank: number;
  world: number;
  /** How long a rank may wait for another one. Longer than a step and a save take. */
  deadlineSeconds?: number;
}

/** For the first meeting: rank 0 prepares the data before it. */
const FIRST_DEADLINE_SECONDS = 3600;

/** So many milliseconds a wait looks; then it naps, which leaves the core to other ranks, but keeps the event loop from turning; */
const SPIN = 0.05;
/** from then on it sleeps, a tenth of what it has waited at a time. */
const NAP = 2;
const LONGEST_SLEEP = 20;

/**
 * Joins a job on one machine, whose ranks share memory.
 *
 * Values go through it a slot at a time. Each rank puts its own in its slot; rank r sums the r-th part of all slots, in the
 * order of ranks, in f32; everybody takes the sums. A rank's copy in and out aside, that reads and writes each value once.
 *
 * @param path of the {@link JobMemory} that the job's launcher made
 */
export function joinSharedMemory(path: string, options: SharedMemoryOptions): Collective {
  return new SharedMemory(JobMemory.join(path, options), options);
}

class SharedMemory implements Collective {
  readonly rank: number;
  readonly world: number;
  readonly description: string;
  readonly #memory: JobMemory;
  readonly #deadlineSeconds: number;
  readonly #nobody = new Int32Array(new SharedArrayBuffer(4));
  #meeting = 0;
  #set = 0;

  constructor(memory: JobMemory, { rank, world, deadlineSeconds = 60 }: SharedMemoryOptions) {
    this.rank = rank;
    this.world = world;
    this.description = `${world} ranks over shared memory`;
    this.#memory = memory;
    this.#deadlineSeconds = deadlineSeconds;
  }

  async allReduce(values: Float32Array): Promise<void> {
    for (let start = 0; start < values.length; start += SLOT) {
      await this.#reduce(values.subarray(start, start + SLOT), values.length);
    }
  }

  async #reduce(values: Float32Array, length: number): Promise<void> {
    const slots = this.#memory.slots[this.#set];
    slots[this.rank].set(values);
    await this.#meet(length);
    this.#mustSumAsMany(length);

    // Parts end where cache lines do.
    const part = 16 * Math.ceil(values.length / this.world / 16);
    const mine = slots.map((slot) =>
      slot
        .subarray(0, values.length)
        .subarray(part * this.rank)
        .subarray(0, part),
    );
    const [sum, ...others] = mine;
    for (const other of others) for (let i = 0; i < sum.length; i++) sum[i] += other[i];
    await this.#meet(length);

    values.set(slots[0].subarray(0, values.length));
    // Those who are quicker write the next values elsewhere, and wait there until everybody has read these.
    this.#set = 1 - this.#set;
  }

  async #meet(length: number): Promise<void> {
    this.#meeting = (this.#meeting + 1) | 0;
    this.#memory.arrive(this.rank, this.#meeting, length);
    const started = performance.now();
    for (let rank = 0; rank < this.world; rank++) {
      while (!this.#memory.hasReached(rank, this.#meeting)) {
        this.#throwIfFailed();
        const waited = performance.now() - started;
        if (waited > 1000 * this.#deadline) this.#blame(rank);
        else await this.#pause(waited);
      }
    }
    this.#throwIfFailed();
  }

  get #deadline(): number {
    return this.#meeting === 1
      ? Math.max(FIRST_DEADLINE_SECONDS, this.#deadlineSeconds)
      : this.#deadlineSeconds;
  }

  /** Bun has no `Atomics.wait` on memory that was mapped. */
  async #pause(waited: number): Promise<void> {
    if (waited < SPIN) return;
    if (waited < NAP) {
      Atomics.wait(this.#nobody, 0, 0, SPIN);
      return;
    }
    await nextTurn();
    await sleep(Math.min(waited / 10, LONGEST_SLEEP));
  }

  #blame(rank: number): void {
    const pid = this.#memory.pidOf(rank);
    this.#memory.fail({
      rank,
      reason: `the others waited ${this.#deadline} s for it in an all-reduce; its process ${stateOf(pid)}`,
    });
  }

  #throwIfFailed(): void {
    const { failure } = this.#memory;
    if (!failure) return;
    throw new ReflowError(
      "job",
      `rank ${failure.rank} ended the job: ${failure.reason}`,
      "--resume goes on from the last checkpoint",
    );
  }

  /** Ranks that don't do the same would add up what doesn't belong together. */
  #mustSumAsMany(length: number): void {
    for (let rank = 0; rank < this.world; rank++) {
      const other = this.#memory.lengthOf(rank);
      if (other !== length)
        throw new RangeError(`rank ${rank} sums ${other} values, rank ${this.rank} ${length}`);
    }
  }

  abort(reason: string): void {
    this.#memory.fail({ rank: this.rank, reason });
  }

  dispose(): void {}
}

/** A process, as the end of a sentence. */
function stateOf(pid: number): string {
  if (pid === 0) return "has not joined";
  try {
    process.kill(pid, 0);
  } catch {
    return "is dead";
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const state = stat.slice(stat.lastIndexOf(")") + 2)[0];
    if (state === "Z" || state === "X") return "is dead";
    if (state === "T") return "is stopped";
  } catch {
    // A system without /proc.
  }
  return "is running";
}
