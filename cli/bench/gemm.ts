import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import type { BenchDevice, DeviceKind } from "./device.ts";
import { bestRates, type Measurement, measurement, pseudoRandom, rateSampler } from "./measure.ts";

export const SIZES: Record<DeviceKind, number[]> = {
  cpu: [512, 1024],
  gpu: [512, 1024, 2048, 4096],
  fallback: [64, 128],
};
export const TRANSPOSITIONS = ["nn", "nt", "tn"] as const;
type Transposition = (typeof TRANSPOSITIONS)[number];

/** Rate of a square matrix product against the peak. On a CPU: with one thread and with all threads, and the speed-up. */
export async function benchGemm(
  devices: BenchDevice[],
  kind: Transposition,
  size: number,
): Promise<Measurement[]> {
  const name = `gemm/${kind}/${size}`;
  const workloads = devices.map(({ backend }) => squareMatmul(backend, kind, size));
  const samplers = devices.flatMap(({ clock, roof }, i) => [
    [`matmul ${i}`, rateSampler(clock, flopsOf(size), workloads[i].run)] as const,
    [`roof ${i}`, roof] as const,
  ]);
  const best = await bestRates(Object.fromEntries(samplers), devices[0].budget);
  for (const { free } of workloads) free();
  const rows = devices.map(({ threads }, i) =>
    measurement(name, threads, "GFLOP/s", best[`matmul ${i}`] / 1e9, best[`roof ${i}`] / 1e9),
  );
  const [one, all] = rows;
  if (!all) return rows;
  return [...rows, measurement(`${name}/speed-up`, all.threads, "×", all.value / one.value, all.threads)];
}

export const flopsOf = (size: number): number => 2 * size ** 3;

/** A workload that multiplies two square matrices. */
export function squareMatmul(backend: Backend, kind: Transposition, size: number) {
  const matrix = (): Tensor => {
    const tensor = backend.alloc([size, size]);
    backend.write(tensor, pseudoRandom(size * size));
    return tensor;
  };
  const [out, a, b] = [matrix(), matrix(), matrix()];
  const options = { transA: kind[0] === "t", transB: kind[1] === "t" };
  return {
    run: () => backend.matmul(out, a, b, options),
    free: () => {
      for (const tensor of [out, a, b]) backend.free(tensor);
    },
  };
}
