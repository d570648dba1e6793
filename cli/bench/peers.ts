/** Other tensor libraries of JavaScript's, on the same shapes in the same run; development dependencies. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { flopsOf, product, SIZES } from "./gemm.ts";
import { type Figure, pseudo, race, row, timed } from "./measure.ts";
import type { Subject } from "./subject.ts";

interface Peer {
  name: string;
  threads: number;
  product(size: number): () => void | Promise<void>;
}

/** Our own products of the same shape are measured in the same race, on as many threads. */
export async function benchPeers(subjects: Subject[]): Promise<Figure[]> {
  const rows: Figure[] = [];
  const all = subjects.at(-1)!;
  for (const peer of [await tensorflow(), await jax(all.threads!)]) {
    const { backend, clock, pace } = subjects.find(({ threads }) => threads === peer.threads) ?? all;
    for (const size of SIZES.cpu) {
      const flops = flopsOf(size);
      const ours = product(backend, "nn", size);
      const turns = { peer: timed(clock, flops, peer.product(size)), ours: timed(clock, flops, ours.run) };
      const best = await race(turns, pace);
      ours.free();
      rows.push(
        row(`peer/${peer.name}/gemm/nn/${size}`, peer.threads, "GFLOP/s", best.peer / 1e9),
        row(`gemm/nn/${size}/over-${peer.name}`, peer.threads, "×", best.ours / best.peer),
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
      const matrix = () => tf.tensor2d(pseudo(size * size), [size, size]);
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
      const matrix = () => numpy.array(pseudo(size * size)).reshape([size, size]);
      const [a, b] = [matrix(), matrix()];
      return async () => {
        const out = matmul(a.ref, b.ref);
        await blockUntilReady(out);
        out.dispose();
      };
    },
  };
}
