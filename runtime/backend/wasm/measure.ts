import { READ_BLOCK, ROOF_ROUND_OPERATIONS } from "../../../kernels-as/assembly/layout.ts";
import * as ops from "../../../kernels-as/assembly/ops.ts";
import type { Tensor } from "../contract/backend.ts";
import type { WasmBackend } from "./mod.ts";

/** Work that {@link WasmBackend.run} always spreads over all threads. */
const ALWAYS = Number.POSITIVE_INFINITY;

/**
 * One run of the compute roof: multiply-adds in registers on all of the backend's threads, without loads or stores. No
 * kernel can do more operations per second in this engine. A run takes about a millisecond, short enough to find a
 * moment in which nothing else runs.
 */
function roofRun(backend: WasmBackend): { operations: number; run(): void; free(): void } {
  const rounds = 600;
  const out = backend.alloc([1]);
  const run = () => {
    backend.float(2, 0.5);
    backend.float(3, 0.75);
    backend.run(ops.ROOF, ALWAYS, rounds, out);
  };
  return { operations: rounds * ROOF_ROUND_OPERATIONS * backend.threads, run, free: () => backend.free(out) };
}

/** The compute roof in operations per second: the fastest of several runs, since other processes can only slow it. */
export function measureRoof(backend: WasmBackend, runs = 8): number {
  const { operations, run, free } = roofRun(backend);
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    run();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  free();
  return operations / least;
}

/** Dot products of `bytes` of int8 weights in rows of 256: decoding without scales or anything else. */
export function bareDotRun(backend: WasmBackend, bytes: number): { run(): void; free(): void } {
  const K = 256;
  const N = Math.floor(bytes / K);
  const weights = backend.alloc([N, K], "i8");
  fillInt8(backend, weights);
  const x = backend.alloc([K / 2], "i32"); // K int16
  const out = backend.alloc([N], "i32");
  return {
    run: () => backend.run(ops.BARE_DOT, ALWAYS, out, x, weights, N, K),
    free: () => {
      for (const tensor of [weights, x, out]) backend.free(tensor);
    },
  };
}

/** Writes every value: pages that were never written all map to one page of zeros, which would be read from the cache. */
function fillInt8(backend: WasmBackend, tensor: Tensor): void {
  const chunk = Int8Array.from({ length: Math.min(tensor.size, 2 ** 20) }, (_, i) => (i * 37) % 127);
  for (let offset = 0; offset < tensor.size; offset += chunk.length) {
    backend.write(tensor, chunk.subarray(0, Math.min(chunk.length, tensor.size - offset)), offset);
  }
}

/** Reads `bytes` of memory once, on all threads. */
export function readRun(backend: WasmBackend, bytes: number): { bytes: number; run(): void; free(): void } {
  const memory = backend.alloc([(Math.floor(bytes / READ_BLOCK) * READ_BLOCK) / 4]);
  backend.fill(memory, 1); // allocates the pages: see fillInt8
  const out = backend.alloc([1]);
  return {
    bytes: memory.size * 4,
    run: () => backend.run(ops.READ_BANDWIDTH, ALWAYS, memory, memory.size * 4, out),
    free: () => {
      for (const tensor of [memory, out]) backend.free(tensor);
    },
  };
}
