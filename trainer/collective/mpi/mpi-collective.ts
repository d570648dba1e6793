import { writeSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as sleep, setImmediate as yieldToEventLoop } from "node:timers/promises";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { bf16ToF32 } from "../../../runtime/formats/f16.ts";
import type { Collective } from "../collective.ts";
import { f32ToBf16 } from "./bf16.ts";
import { findLauncher, type Launcher, requireLauncherConnection } from "./launcher.ts";
import { loadMpi, type MpiLibrary, readCString } from "./library.ts";

export interface MpiOptions {
  /** Data type of messages; values are added in f32 in either case. Default: f32. */
  wire?: "f32" | "bf16";
  /** Longest wait for another rank, after the first all-reduce. It must exceed the time that rank 0 takes to save. Default: 600. */
  deadlineSeconds?: number;
}

/**
 * Joins the job of the MPI launcher that started this process, with Open MPI, MPICH or a derivative. A process can call it
 * only once.
 *
 * With `wire: "bf16"` a sum is bf16(Σ bf16(v_r)) instead of Σ v_r. It is the same on every rank, and its error is at most
 * 2^-7 · Σ |v_r|. Messages have half the size; rounding takes about 3 ns per value.
 *
 * A process that exits without calling {@link Collective.dispose} ends the job.
 *
 * @example
 * // mpirun -n 2 bun sum.ts
 * const collective = await createMpi();
 * const values = Float32Array.of(collective.rank + 1);
 * await collective.allReduce(values); // [3] on both ranks
 * collective.dispose();
 *
 * @throws ReflowError `usage` if no launcher started this process, or if its library is not installed or does not match
 */
export async function createMpi({
  wire = "f32",
  deadlineSeconds = 600,
}: MpiOptions = {}): Promise<Collective> {
  const launcher = findLauncher(process.env);
  requireLauncherConnection(process.env);
  const library = await loadMpi(launcher);
  return new MpiCollective(library, launcher, { wire, deadlineSeconds });
}

/** The largest number of values in a message. The fastest of 2^14 to 2^18 over shared memory. */
export const SLICE_LENGTH = 2 ** 17;
/** A wait polls for this long; afterwards it sleeps for a twentieth of the time waited so far. */
const SPIN_MS = 20;
/** Deadline of the first all-reduce, before which rank 0 prepares the data. */
const FIRST_DEADLINE_SECONDS = 3600;
/** The largest tag that every MPI implementation must support. */
const MAX_TAG = 32767;
const EXIT_CODE = 2;
/** Time for the launcher to forward printed text before an abort: MPICH's launcher drops text that it has not yet read. */
const STDERR_FORWARD_MS = 200;
/** The smallest buffer passed to C, since an engine may move small arrays. */
const BUFFER_BYTES = 4096;

/** Values of a message: f32, or the bits of bf16. */
type Wire = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

class MpiCollective implements Collective {
  readonly rank: number;
  readonly world: number;
  readonly description: string;
  readonly #mpi: MpiLibrary;
  readonly #deadlineSeconds: number;
  /** The values received from each rank for the slice that this rank sums: `world` times (SLICE_LENGTH). */
  readonly #received: Wire[];
  readonly #sum = new Float32Array(SLICE_LENGTH);
  /** For bf16: an encoded chunk, and a decoded slice of it. */
  readonly #encoded?: Uint16Array<ArrayBuffer>;
  readonly #decoded = new Float32Array(SLICE_LENGTH);
  /** The other rank of each pending message. Its request is at the same index in `#requests`, 8 bytes each. */
  readonly #peers: number[] = [];
  readonly #requests: Uint8Array;
  readonly #out = new Int32Array(BUFFER_BYTES / 4);
  readonly #status = new Uint8Array(BUFFER_BYTES);
  /** Derived from the number of values, so that messages of ranks that sum different numbers never match. */
  #tag = 0;
  #hasReduced = false;
  #state: "running" | "failed" | "finalized" = "running";

  constructor(mpi: MpiLibrary, launcher: Launcher, { wire, deadlineSeconds }: Required<MpiOptions>) {
    this.#mpi = mpi;
    this.#deadlineSeconds = deadlineSeconds;
    const out = mpi.addressOf(this.#out);
    const { MPI_Init_thread, MPI_Comm_set_errhandler, MPI_Comm_rank, MPI_Comm_size } = mpi.functions;
    this.#check("MPI_Init_thread", MPI_Init_thread(0, 0, mpi.funneled, out));
    this.#check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(mpi.commWorld, mpi.errorsReturn));
    this.#check("MPI_Comm_rank", MPI_Comm_rank(mpi.commWorld, out));
    this.rank = this.#out[0];
    this.#check("MPI_Comm_size", MPI_Comm_size(mpi.commWorld, out));
    this.world = this.#out[0];
    if (this.world === 1 && launcher.world !== undefined && launcher.world > 1) {
      this.dispose();
      throw new ReflowError(
        "usage",
        `${launcher.name} started ${launcher.world} processes, but ${mpi.version} sees only one`,
        "use the mpirun of that library, or set REFLOW_MPI_LIBRARY to the path of the launcher's library",
      );
    }
    const ranks = this.world === 1 ? "1 rank" : `${this.world} ranks`;
    this.description = `${ranks} over ${mpi.version}${wire === "bf16" ? ", bf16 on the wire" : ""}`;
    const WireArray = wire === "bf16" ? Uint16Array : Float32Array;
    this.#received = Array.from({ length: this.world }, () => new WireArray(SLICE_LENGTH));
    if (wire === "bf16") this.#encoded = new Uint16Array(SLICE_LENGTH * this.world);
    this.#requests = new Uint8Array(Math.max(BUFFER_BYTES, 8 * 2 * this.world));
    process.on("exit", (code) => {
      if (this.#state !== "finalized")
        this.#endJob(`its process exits with status ${code}`, code || EXIT_CODE);
    });
  }

  async allReduce(values: Float32Array<ArrayBuffer>): Promise<void> {
    if (this.world === 1) return;
    this.#tag = values.length % MAX_TAG;
    const length = SLICE_LENGTH * this.world;
    for (let start = 0; start < values.length; start += length) {
      await this.#reduceChunk(values.subarray(start, start + length));
    }
    this.#hasReduced = true;
  }

  /** Each rank sums one slice of the chunk, in rank order, and sends the sum to the others. */
  async #reduceChunk(chunk: Float32Array<ArrayBuffer>): Promise<void> {
    const sent = this.#encoded ? f32ToBf16(chunk, this.#encoded.subarray(0, chunk.length)) : chunk;
    const bound = (rank: number) => Math.floor((sent.length * rank) / this.world);
    const slice = (rank: number) => sent.subarray(bound(rank), bound(rank + 1));
    // Each rank starts with its successor, so that not all send to rank 0 first.
    const others = Array.from({ length: this.world - 1 }, (_, i) => (this.rank + 1 + i) % this.world);

    const own = slice(this.rank);
    const received = this.#received.map((buffer) => buffer.subarray(0, own.length));
    received[this.rank] = own;
    for (const rank of others) this.#post("MPI_Irecv", received[rank], rank);
    for (const rank of others) this.#post("MPI_Isend", slice(rank), rank);
    await this.#waitAll();

    const sum = this.#sum.subarray(0, own.length);
    const decoded = this.#decoded.subarray(0, own.length);
    for (const [rank, wire] of received.entries()) {
      const values = decode(wire, decoded);
      if (rank === 0) sum.set(values);
      else for (let i = 0; i < sum.length; i++) sum[i] += values[i];
    }
    encode(sum, own);

    for (const rank of others) this.#post("MPI_Irecv", slice(rank), rank);
    for (const rank of others) this.#post("MPI_Isend", own, rank);
    await this.#waitAll();
    decode(sent, chunk);
  }

  #post(call: "MPI_Irecv" | "MPI_Isend", data: Wire, peer: number): void {
    if (data.length === 0) return;
    const { functions, addressOf, byte, commWorld } = this.#mpi;
    const request = this.#requestAt(this.#peers.length);
    const code = functions[call](addressOf(data), data.byteLength, byte, peer, this.#tag, commWorld, request);
    this.#check(call, code);
    this.#peers.push(peer);
  }

  /** Waits until all posted messages have completed, while the event loop continues to run signal handlers and timers. */
  async #waitAll(): Promise<void> {
    const deadline = this.#hasReduced
      ? this.#deadlineSeconds
      : Math.max(FIRST_DEADLINE_SECONDS, this.#deadlineSeconds);
    for (let i = 0; i < this.#peers.length; i++) {
      const start = performance.now();
      while (!this.#isDone(i)) {
        const waited = performance.now() - start;
        if (waited > 1000 * deadline) throw this.#timeoutError(i, deadline);
        await (waited < SPIN_MS ? yieldToEventLoop() : sleep(Math.min(waited / SPIN_MS, SPIN_MS / 2)));
      }
    }
    this.#peers.length = 0;
  }

  #isDone(i: number): boolean {
    const { functions, addressOf } = this.#mpi;
    const code = functions.MPI_Test(this.#requestAt(i), addressOf(this.#out), addressOf(this.#status));
    this.#check("MPI_Test", code);
    return this.#out[0] !== 0;
  }

  #requestAt(i: number): number {
    return this.#mpi.addressOf(this.#requests) + 8 * i;
  }

  #timeoutError(first: number, seconds: number): ReflowError {
    this.#state = "failed";
    const late = this.#peers.filter((_, i) => i >= first && !this.#isDone(i));
    const ranks = [...new Set(late)].sort((a, b) => a - b);
    return new ReflowError(
      "job",
      `rank ${this.rank} waited ${seconds} s for rank ${ranks.join(", ")} in an all-reduce`,
      "check whether its machine hangs or swaps; pass --resume to continue from the last checkpoint",
    );
  }

  #check(call: string, code: number): void {
    if (code === 0) return;
    this.#state = "failed";
    const { functions, addressOf } = this.#mpi;
    const text = new Uint8Array(BUFFER_BYTES);
    functions.MPI_Error_string(code, addressOf(text), addressOf(this.#out));
    throw new ReflowError(
      "job",
      `rank ${this.rank}: ${call} failed: ${readCString(text)}`,
      "check that all ranks and the network are up; pass --resume to continue from the last checkpoint",
    );
  }

  abort(reason: string): void {
    if (this.#state !== "finalized") this.#endJob(reason, EXIT_CODE);
  }

  /** Ends the processes of all ranks, including this one. */
  #endJob(reason: string, code: number): void {
    // Not `process.stderr`, which may buffer the line for an event loop that no longer runs.
    writeSync(2, `rank ${this.rank} on ${hostname()} ends the job: ${reason}\n`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STDERR_FORWARD_MS);
    this.#mpi.functions.MPI_Abort(this.#mpi.commWorld, code);
  }

  /** Waits until all ranks call it. If the job has failed, does nothing: the exit of this process ends the job. */
  dispose(): void {
    if (this.#state !== "running") return;
    this.#mpi.functions.MPI_Finalize();
    this.#mpi.unload();
    this.#state = "finalized";
  }
}

function encode(values: Float32Array<ArrayBuffer>, out: Wire): void {
  if (out instanceof Uint16Array) f32ToBf16(values, out);
  else out.set(values);
}

/** Returns f32 values as they are; bf16 values are decoded into `out`. */
function decode(wire: Wire, out: Float32Array<ArrayBuffer>): Float32Array {
  return wire instanceof Uint16Array ? bf16ToF32(wire, out) : wire;
}
