/** Comparison with other JavaScript tensor libraries (development dependencies), on the same shapes in the same run. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchDevice } from "./device.ts";
import { flopsOf, SIZES, squareMatmul } from "./gemm.ts";
import { bestRates, type Measurement, measurement, pseudoRandom, rateSampler } from "./measure.ts";

interface Peer {
  name: string;
  threads: number;
  /** Returns a function that multiplies two square matrices. */
  matmul(size: number): () => void | Promise<void>;
}

/** Measures each library alternately with our own matmul of the same shape, on the same number of threads. */
export async function benchPeers(devices: BenchDevice[]): Promise<Measurement[]> {
  const rows: Measurement[] = [];
  const all = devices.at(-1)!;
  for (const peer of [await tensorflow(), await jax(all.threads!)]) {
    const { backend, clock, budget } = devices.find(({ threads }) => threads === peer.threads) ?? all;
    for (const size of SIZES.cpu) {
      const flops = flopsOf(size);
      const ours = squareMatmul(backend, "nn", size);
      const samplers = {
        peer: rateSampler(clock, flops, peer.matmul(size)),
        ours: rateSampler(clock, flops, ours.run),
      };
      const best = await bestRates(samplers, budget);
      ours.free();
      rows.push(
        measurement(`peer/${peer.name}/gemm/nn/${size}`, peer.threads, "GFLOP/s", best.peer / 1e9),
        measurement(`gemm/nn/${size}/over-${peer.name}`, peer.threads, "×", best.ours / best.peer),
      );
    }
  }
  return rows;
}

/** Runs on one thread, because the threaded build of TensorFlow.js does not start under Bun. */
async function tensorflow(): Promise<Peer> {
  const tf = await import("@tensorflow/tfjs-core");
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  setWasmPaths(`${dirname(fileURLToPath(import.meta.resolve("@tensorflow/tfjs-backend-wasm")))}/`);
  await tf.setBackend("wasm");
  return {
    name: "tfjs-wasm",
    threads: 1,
    matmul(size) {
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

/** jax-js always starts one worker per core. */
async function jax(threads: number): Promise<Peer> {
  const { init, defaultDevice, numpy, jit, blockUntilReady } = await import("@jax-js/jax");
  await init("wasm");
  defaultDevice("wasm");
  const matmul = jit(numpy.matmul);
  return {
    name: "jax-js",
    threads,
    matmul(size) {
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
