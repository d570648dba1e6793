import { ReflowError } from "../../runtime/common/errors.ts";
import { benchAllReduce, LENGTHS, WORLDS } from "./all-reduce.ts";
import { benchDecode, benchReading } from "./decode.ts";
import type { BenchDevice, DeviceKind } from "./device.ts";
import { benchGemm, SIZES, TRANSPOSITIONS } from "./gemm.ts";
import type { BenchResult } from "./measure.ts";
import { benchPeers } from "./peers.ts";
import { benchTraining, TRAINING_PRESETS } from "./training.ts";

/** How a row is measured, or the few that are measured together. */
export interface Benchmark {
  name: string;
  /** @throws ReflowError where this device can't */
  measure(subjects: BenchDevice[]): Promise<BenchResult[]>;
}

/** All rows of a device, in the order in which they are printed. */
export function benchmarksFor(kind: DeviceKind): Benchmark[] {
  const one = (name: string, measure: (subject: BenchDevice) => Promise<BenchResult>): Benchmark => ({
    name,
    measure: async (subjects) => [await measure(subjects.at(-1)!)],
  });
  return [
    ...TRANSPOSITIONS.flatMap((transposition) =>
      SIZES[kind].map((size) => ({
        name: `gemm/${transposition}/${size}`,
        measure: (subjects: BenchDevice[]) => benchGemm(subjects, transposition, size),
      })),
    ),
    ...TRAINING_PRESETS.map((preset) =>
      one(`train-step/${preset}`, (subject) => benchTraining(subject, preset)),
    ),
    ...["nano", "small"].map((preset) =>
      one(`decode/${preset}/int8`, (subject) => benchDecode(subject, preset)),
    ),
    one("read-bandwidth", benchReading),
    ...WORLDS.flatMap((world) =>
      (Object.keys(LENGTHS) as (keyof typeof LENGTHS)[]).map((size) =>
        one(`all-reduce/${size}/${world}`, () => benchAllReduce(size, world)),
      ),
    ),
    { name: "peer", measure: kind === "cpu" ? benchPeers : refusePeers },
  ];
}

async function refusePeers(): Promise<BenchResult[]> {
  throw new ReflowError("device", "other libraries are measured on the CPU: --device wasm");
}
