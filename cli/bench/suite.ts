import { ReflowError } from "../../runtime/common/errors.ts";
import { benchAllReduce, LENGTHS, WORLDS } from "./all-reduce.ts";
import { benchDecode, benchReading } from "./decode.ts";
import type { BenchDevice, DeviceKind } from "./device.ts";
import { benchGemm, SIZES, TRANSPOSITIONS } from "./gemm.ts";
import type { BenchResult } from "./measure.ts";
import { benchPeers } from "./peers.ts";
import { benchTraining, TRAINING_PRESETS } from "./training.ts";

/** A benchmark: one result, or a few that are measured together. */
export interface Benchmark {
  name: string;
  /** @throws ReflowError if the device cannot run the benchmark */
  measure(devices: BenchDevice[]): Promise<BenchResult[]>;
}

/** All benchmarks for a kind of device, in the order in which they are printed. */
export function benchmarksFor(kind: DeviceKind): Benchmark[] {
  const one = (name: string, measure: (device: BenchDevice) => Promise<BenchResult>): Benchmark => ({
    name,
    measure: async (devices) => [await measure(devices.at(-1)!)],
  });
  return [
    ...TRANSPOSITIONS.flatMap((transposition) =>
      SIZES[kind].map((size) => ({
        name: `gemm/${transposition}/${size}`,
        measure: (devices: BenchDevice[]) => benchGemm(devices, transposition, size),
      })),
    ),
    ...TRAINING_PRESETS.map((preset) =>
      one(`train-step/${preset}`, (device) => benchTraining(device, preset)),
    ),
    ...["nano", "small"].map((preset) =>
      one(`decode/${preset}/int8`, (device) => benchDecode(device, preset)),
    ),
    one("read-bandwidth", benchReading),
    ...WORLDS.flatMap((world) =>
      (Object.keys(LENGTHS) as (keyof typeof LENGTHS)[]).map((size) =>
        one(`all-reduce/${size}/${world}`, () => benchAllReduce(size, world)),
      ),
    ),
    { name: "peer", measure: kind === "cpu" ? benchPeers : rejectPeers },
  ];
}

async function rejectPeers(): Promise<BenchResult[]> {
  throw new ReflowError("device", "other libraries are measured on the CPU only: use --device wasm");
}
