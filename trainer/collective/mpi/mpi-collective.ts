import { writeSync } from "node:fs";
import { hostname } from "node:os";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { bf16ToF32 } from "../../../runtime/formats/f16.ts";
import type { Collective } from "../collective.ts";
import { f32ToBf16 } from "./bf16.ts";
import { findLauncher, type Launcher, mustBeReachable } from "./launcher.ts";
import { loadMpi, type MpiLibrary, readCString } from "./library.ts";

export interface MpiOptions {
  /** How values travel; they are added in f32 either way. */
  wire?: "f32" | "bf16";
  /** How long a rank may wait for another one, after the first time. Longer than rank 0 takes to save or evaluate. */
  deadlineSeconds?: number;
}

/**
 * Joins the job of the MPI launcher that started this process, with Open MPI, MPICH or a relative of theirs. Once in a
 * process.
 *
 * With `wire: "bf16"` a sum is bf16(Σ bf16(v_r)) instead of Σ v_r, on every rank the same and within 2^-7 · Σ |v_r| of
 * it: half the bytes, for some 3 ns of rounding a value.
 *
 * A process that ends without {@link Collective.dispose}, for whatever reason, ends the job.
 *
 * @example
 * // mpirun -n 2 bun sum.ts
 * const collective = await createMpi();
 * const values = Float32Array.of(collective.rank + 1);
 * await collective.allReduce(values); // [3] on both
 * collective.dispose();
 *
 * @throws ReflowError `usage` where no launcher started this process, its library isn't installed, or another MPI's is
 */
export async function createMpi({
  wire = "f32",
  deadlineSeconds = 600,
}: MpiOptions = {}): Promise<Collective> {
  const launcher = findLauncher(process.env);
  mustBeReachable(process.env);
  const library = await loadMpi(launcher);
  return new Mpi(library, launcher, { wire, deadlineSeconds });
}

/** Values of a message at most. Of 2^14 to 2^18, this was the fastest over shared memory. */
export const SLICE = 2 ** 17;
/** A wait of so many milliseconds is spent looking; during a longer one this process sleeps a twentieth at a time. */
const SPIN = 20;
/** For the first all-reduce: rank 0 prepares the data before it. */
const FIRST_DEADLINE_SECONDS = 3600;
/** Tags up to this one are allowed everywhere. */
const LARGEST_TAG = 32767;
const EXIT_CODE = 2;
/** How long the launcher has to pass on what was printed: MPICH's loses what it has not yet read. */
const LAST_WORDS_MS = 200;
/** C gets no smaller buffers of ours: an engine may move small arrays. */
const BUFFER_BYTES = 4096;

/** Values as they travel: f32, or the bits of bf16. */
type Wire = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;

class Mpi implements Collective {
  readonly rank: number;
  readonly world: number;
  readonly description: string;
  readonly #mpi: MpiLibrary;
  readonly #deadlineSeconds: number;
  /** What each rank sent of the slice that this one sums: `world` times (SLICE). */
  readonly #received: Wire[];
  readonly #sum = new Float32Array(SLICE);
  /** For bf16: a chunk as it travels, and a slice of it widened again. */
  readonly #encoded?: Uint16Array<ArrayBuffer>;
  readonly #decoded = new Float32Array(SLICE);
  /** The other rank of every message under way; its request is at the same place in `#requests`, 8 bytes each. */
  readonly #peers: number[] = [];
  readonly #requests: Uint8Array;
  readonly #out = new Int32Array(BUFFER_BYTES / 4);
  readonly #status = new Uint8Array(BUFFER_BYTES);
  /** Of the values being summed: messages of ranks that don't sum as many never meet. */
  #tag = 0;
  #hasMet = false;
  #state: "running" | "failed" | "finalized" = "running";

  constructor(mpi: MpiLibrary, launcher: Launcher, { wire, deadlineSeconds }: Required<MpiOptions>) {
    this.#mpi = mpi;
    this.#deadlineSeconds = deadlineSeconds;
    const out = mpi.addressOf(this.#out);
    const { MPI_Init_thread, MPI_Comm_set_errhandler, MPI_Comm_rank, MPI_Comm_size } = mpi.functions;
    this.#check("MPI_Init_thread", MPI_Init_thread(0, 0, mpi.funneled, out));
    this.#check("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(mpi.everyone, mpi.errorsReturn));
    this.#check("MPI_Comm_rank", MPI_Comm_rank(mpi.everyone, out));
    this.rank = this.#out[0];
    this.#check("MPI_Comm_size", MPI_Comm_size(mpi.everyone, out));
    this.world = this.#out[0];
    if (this.world === 1 && launcher.world !== undefined && launcher.world > 1) {
      this.dispose();
      throw new ReflowError(
        "usage",
        `${launcher.name} started ${launcher.world} processes, of which ${mpi.version} sees one`,
        "start with the mpirun of that library, or set REFLOW_MPI_LIBRARY to the path of the launcher's",
      );
    }
    const ranks = this.world === 1 ? "1 rank" : `${this.world} ranks`;
    this.description = `${ranks} over ${mpi.version}${wire === "bf16" ? ", bf16 on the wire" : ""}`;
    const WireArray = wire === "bf16" ? Uint16Array : Float32Array;
    this.#received = Array.from({ length: this.world }, () => new WireArray(SLICE));
    if (wire === "bf16") this.#encoded = new Uint16Array(SLICE * this.world);
    this.#requests = new Uint8Array(Math.max(BUFFER_BYTES, 8 * 2 * this.world));
    process.on("exit", (code) => {
      if (this.#state !== "finalized") this.#end(`its process exits with status ${code}`, code || EXIT_CODE);
    });
  }

  async allReduce(values: Float32Array<ArrayBuffer>): Promise<void> {
    if (this.world === 1) return;
    this.#tag = values.length % LARGEST_TAG;
    const length = SLICE * this.world;
    for (let start = 0; start < values.length; start += length) {
      await this.#reduceChunk(values.subarray(start, start + length));
    }
    this.#hasMet = true;
  }

  /** Each rank sums one slice of the chunk, in the order of ranks, and gives the sum to the others. */
  async #reduceChunk(chunk: Float32Array<ArrayBuffer>): Promise<void> {
    const sent = this.#encoded ? f32ToBf16(chunk, this.#encoded.subarray(0, chunk.length)) : chunk;
    const bound = (rank: number) => Math.floor((sent.length * rank) / this.world);
    const slice = (rank: number) => sent.subarray(bound(rank), bound(rank + 1));
    // Not all to rank 0 first.
    const others = Array.from({ length: this.world - 1 }, (_, i) => (this.rank + 1 + i) % this.world);

    const own = slice(this.rank);
    const received = this.#received.map((buffer) => buffer.subarray(0, own.length));
    received[this.rank] = own;
    for (const rank of others) this.#post("MPI_Irecv", received[rank], rank);
    for (const rank of others) this.#post("MPI_Isend", slice(rank), rank);
    await this.#settle();

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
    await this.#settle();
    decode(sent, chunk);
  }

  #post(call: "MPI_Irecv" | "MPI_Isend", data: Wire, peer: number): void {
    if (data.length === 0) return;
    const { functions, addressOf, byte, everyone } = this.#mpi;
    const request = this.#requestAt(this.#peers.length);
    const code = functions[call](addressOf(data), data.byteLength, byte, peer, this.#tag, everyone, request);
    this.#check(call, code);
    this.#peers.push(peer);
  }

  /** Until all that was posted is done. The event loop turns meanwhile: signals and timers go on. */
  async #settle(): Promise<void> {
    const deadline = this.#hasMet
      ? this.#deadlineSeconds
      : Math.max(FIRST_DEADLINE_SECONDS, this.#deadlineSeconds);
    for (let i = 0; i < this.#peers.length; i++) {
      const start = performance.now();
      while (!this.#isDone(i)) {
        const waited = performance.now() - start;
        if (waited > 1000 * deadline) throw this.#lateness(i, deadline);
        await (waited < SPIN ? nextTurn() : sleep(Math.min(waited / SPIN, SPIN / 2)));
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

  #lateness(first: number, seconds: number): ReflowError {
    this.#state = "failed";
    const late = this.#peers.filter((_, i) => i >= first && !this.#isDone(i));
    const ranks = [...new Set(late)].sort((a, b) => a - b);
    return new ReflowError(
      "job",
      `rank ${this.rank} waited ${seconds} s for rank ${ranks.join(", ")} in an all-reduce`,
      "see whether its machine hangs or swaps; --resume goes on from the last checkpoint",
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
      "see whether all ranks and their network are up; --resume goes on from the last checkpoint",
    );
  }

  abort(reason: string): void {
    if (this.#state !== "finalized") this.#end(reason, EXIT_CODE);
  }

  /** All ranks' processes, this one's too. */
  #end(reason: string, code: number): void {
    // Not `process.stderr`, where a line may wait for a turn of the event loop that never comes.
    writeSync(2, `rank ${this.rank} on ${hostname()} ends the job: ${reason}\n`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LAST_WORDS_MS);
    this.#mpi.functions.MPI_Abort(this.#mpi.everyone, code);
  }

  /** Waits for all ranks to get here, unless the job has failed: then the process's end ends it. */
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

/** Itself, or widened into `out`. */
function decode(wire: Wire, out: Float32Array<ArrayBuffer>): Float32Array {
  return wire instanceof Uint16Array ? bf16ToF32(wire, out) : wire;
}
