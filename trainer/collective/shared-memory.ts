import { readFileSync } from "node:fs";
import { setTimeout as sleep, setImmediate as yieldToEventLoop } from "node:timers/promises";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Collective } from "./collective.ts";
import { JobMemory, SLOT_LENGTH } from "./job-memory.ts";

export interface SharedMemoryOptions {
  rank: number;
  world: number;
  /** Longest wait for another rank. It must exceed the duration of a step and a save. Default: 60. */
  deadlineSeconds?: number;
}

/** Deadline of the first barrier, before which rank 0 prepares the data. */
const FIRST_DEADLINE_SECONDS = 3600;

/** A wait first polls for this long. */
const SPIN_MS = 0.05;
/** It then blocks the thread for short naps, which leaves the core to other ranks, up to this time. */
const NAP_MS = 2;
/** Afterwards it yields to the event loop, and sleeps for a tenth of the time waited so far, at most this long. */
const MAX_SLEEP_MS = 20;

/**
 * Joins a job on one machine, whose ranks communicate through shared memory.
 *
 * Values are reduced one slot at a time. Each rank copies its values to its slot; rank r sums the r-th part of all slots, in
 * rank order and in f32; then every rank copies the sums. Besides these copies, each value is read and written once.
 *
 * @param path of the {@link JobMemory} that the launcher created
 */
export function joinSharedMemory(path: string, options: SharedMemoryOptions): Collective {
  return new SharedMemoryCollective(JobMemory.join(path, options), options);
}

class SharedMemoryCollective implements Collective {
  readonly rank: number;
  readonly world: number;
  readonly description: string;
  readonly #memory: JobMemory;
  readonly #deadlineSeconds: number;
  readonly #sleepCell = new Int32Array(new SharedArrayBuffer(4));
  #barrierNumber = 0;
  #set = 0;

  constructor(memory: JobMemory, { rank, world, deadlineSeconds = 60 }: SharedMemoryOptions) {
    this.rank = rank;
    this.world = world;
    this.description = `${world} ranks over shared memory`;
    this.#memory = memory;
    this.#deadlineSeconds = deadlineSeconds;
  }

  async allReduce(values: Float32Array): Promise<void> {
    for (let start = 0; start < values.length; start += SLOT_LENGTH) {
      await this.#reduce(values.subarray(start, start + SLOT_LENGTH), values.length);
    }
  }

  async #reduce(values: Float32Array, length: number): Promise<void> {
    const slots = this.#memory.slots[this.#set];
    slots[this.rank].set(values);
    await this.#barrier(length);
    this.#requireEqualLengths(length);

    // Parts are aligned to cache lines.
    const part = 16 * Math.ceil(values.length / this.world / 16);
    const parts = slots.map((slot) =>
      slot
        .subarray(0, values.length)
        .subarray(part * this.rank)
        .subarray(0, part),
    );
    const [sum, ...others] = parts;
    for (const other of others) for (let i = 0; i < sum.length; i++) sum[i] += other[i];
    await this.#barrier(length);

    values.set(slots[0].subarray(0, values.length));
    // Faster ranks write the next values to the other set, and wait there until all ranks have read this one.
    this.#set = 1 - this.#set;
  }

  async #barrier(length: number): Promise<void> {
    this.#barrierNumber = (this.#barrierNumber + 1) | 0;
    this.#memory.arriveAtBarrier(this.rank, this.#barrierNumber, length);
    const started = performance.now();
    for (let rank = 0; rank < this.world; rank++) {
      while (!this.#memory.hasReachedBarrier(rank, this.#barrierNumber)) {
        this.#throwIfFailed();
        const waited = performance.now() - started;
        if (waited > 1000 * this.#deadline) this.#failStalled(rank);
        else await this.#pause(waited);
      }
    }
    this.#throwIfFailed();
  }

  get #deadline(): number {
    return this.#barrierNumber === 1
      ? Math.max(FIRST_DEADLINE_SECONDS, this.#deadlineSeconds)
      : this.#deadlineSeconds;
  }

  /** Polls, since Bun does not support `Atomics.wait` on mapped memory. */
  async #pause(waited: number): Promise<void> {
    if (waited < SPIN_MS) return;
    if (waited < NAP_MS) {
      Atomics.wait(this.#sleepCell, 0, 0, SPIN_MS);
      return;
    }
    await yieldToEventLoop();
    await sleep(Math.min(waited / 10, MAX_SLEEP_MS));
  }

  #failStalled(rank: number): void {
    const pid = this.#memory.pidOf(rank);
    this.#memory.fail({
      rank,
      reason: `the other ranks waited ${this.#deadline} s for it in an all-reduce; its process ${processState(pid)}`,
    });
  }

  #throwIfFailed(): void {
    const { failure } = this.#memory;
    if (!failure) return;
    throw new ReflowError(
      "job",
      `rank ${failure.rank} ended the job: ${failure.reason}`,
      "pass --resume to continue from the last checkpoint",
    );
  }

  /** Detects ranks that are not in the same all-reduce, whose values must not be summed. */
  #requireEqualLengths(length: number): void {
    for (let rank = 0; rank < this.world; rank++) {
      const other = this.#memory.lengthOf(rank);
      if (other !== length)
        throw new RangeError(`rank ${rank} sums ${other} values, but rank ${this.rank} sums ${length}`);
    }
  }

  abort(reason: string): void {
    this.#memory.fail({ rank: this.rank, reason });
  }

  dispose(): void {}
}

/** The state of a process, as a predicate: "is dead". */
function processState(pid: number): string {
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
    // Systems without /proc do not report the state.
  }
  return "is running";
}
