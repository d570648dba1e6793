import * as ops from "../../../kernels-as/assembly/ops.ts";
import type { WasmBackend } from "./mod.ts";

/** Seconds that `run` takes: the least of several runs, since whatever else the machine does only adds. */
export function leastSeconds(run: () => void, runs: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    run();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

/**
 * The roof, in operations a second over all of the backend's threads: multiply-adds in registers, in this engine, with
 * nothing loaded or stored. No kernel can do more.
 */
export function measureRoof(backend: WasmBackend, runs = 40): number {
  const out = backend.alloc([1]);
  const thousands = 600; // about a millisecond
  backend.float(2, 0.5);
  backend.float(3, 0.75);
  const seconds = leastSeconds(() => backend.run(ops.ROOF, Number.POSITIVE_INFINITY, thousands, out), runs);
  backend.free(out);
  return (thousands * 1000 * OPERATIONS_A_ROUND * backend.threads) / seconds;
}

/** Thirteen fused chains of four lanes: see kernels-as/assembly/measure.ts. */
const OPERATIONS_A_ROUND = 104;
