/** Other tensor libraries of JavaScript's, on the same shapes in the same run; development dependencies. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchDevice } from "./device.ts";
import { flopsOf, product, SIZES } from "./gemm.ts";
import { bestRates, type Measurement, measurement, pseudoRandom, rateSampler } from "./measure.ts";

interface Peer {
  name: string;
  threads: number;
  product(size: number): () => void | Promise<void>;
}

/** Our own products of the same shape are measured in the same race, on as many threads. */
export async function benchPeers(subjects: BenchDevice[]): Promise<Measurement[]> {
  const rows: Measurement[] = [];
  const all = subjects.at(-1)!;
  for (const peer of [await tensorflow(), await jax(all.threads!)]) {
    const { backend, clock, budget } = subjects.find(({ threads }) => threads === peer.threads) ?? all;
    for (const size of SIZES.cpu) {
      const flops = flopsOf(size);
      const ours = product(backend, "nn", size);
      const turns = {
        peer: rateSampler(clock, flops, peer.product(size)),
        ours: rateSampler(clock, flops, ours.run),
      };
      const best = await bestRates(turns, budget);
      ours.free();
      rows.push(
        measurement(`peer/${peer.name}/gemm/nn/${size}`, peer.threads, "GFLOP/s", best.peer / 1e9),
        measurement(`gemm/nn/${size}/over-${peer.name}`, peer.threads, "×", best.ours / best.peer),
      );
    }
  }
  return rows;
}

/** Its threaded build does not start under Bun: one thread. */
async function tensorflow(): Promise<Peer> {
  const tf = await import("@tensorflow/tfjs-core");
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  setWasmPaths(`${dirname(fileURLToPath(import.meta.resolve("@tensorflow/tfjs-backend-wasm")))}/`);
  await tf.setBackend("wasm");
  return {
    name: "tfjs-wasm",
    threads: 1,
    product(size) {
      const matrix = () => tf.tensor2d(pseudoRandom(size * size), [size, size]);
      const [a, b] = [matrix(), matrix()];
      return () => {
        const out = tf.matMul(a, b);
        out.dataSync();
        out.dispose();
      };
    },
  };
}

/** Always takes a worker a core. */
async function jax(threads: number): Promise<Peer> {
  const { init, defaultDevice, numpy, jit, blockUntilReady } = await import("@jax-js/jax");
  await init("wasm");
  defaultDevice("wasm");
  const matmul = jit(numpy.matmul);
  return {
    name: "jax-js",
    threads,
    product(size) {
      const matrix = () => numpy.array(pseudoRandom(size * size)).reshape([size, size]);
      const [a, b] = [matrix(), matrix()];
      return async () => {
        const out = matmul(a.ref, b.ref);
        await blockUntilReady(out);
        out.dispose();
      };
    },
  };
}
