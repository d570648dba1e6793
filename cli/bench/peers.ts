/** Other tensor libraries of JavaScript's, on the same shapes in the same run; development dependencies. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { SIZES } from "./gemm.ts";
import { pseudo, type Row, race, row } from "./measure.ts";

interface Peer {
  name: string;
  threads: number;
  product(size: number): () => void | Promise<void>;
}

/** @param ours seconds are compared within one race: products of the same shape by our own kernels */
export async function benchPeers(ours: {
  threads: number[];
  product(threads: number, size: number): () => void;
}): Promise<Row[]> {
  const rows: Row[] = [];
  for (const peer of [await tensorflow(), await jax(Math.max(...ours.threads))]) {
    for (const size of SIZES) {
      const least = await race({ peer: peer.product(size), ours: ours.product(peer.threads, size) });
      const giga = (seconds: number) => (2 * size ** 3) / seconds / 1e9;
      rows.push(
        row(`peer/${peer.name}/gemm/nn/${size}`, peer.threads, "GFLOP/s", giga(least.peer)),
        row(`gemm/nn/${size}/over-${peer.name}`, peer.threads, "×", least.peer / least.ours),
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
