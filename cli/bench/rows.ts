import { ReflowError } from "../../runtime/common/errors.ts";
import { benchAllReduce, LENGTHS, WORLDS } from "./all-reduce.ts";
import { benchDecode, benchReading } from "./decode.ts";
import { benchGemm, SIZES, TRANSPOSITIONS } from "./gemm.ts";
import type { Row } from "./measure.ts";
import { benchPeers } from "./peers.ts";
import type { Kind, Subject } from "./subject.ts";
import { benchTraining, TRAINED } from "./training.ts";

/** How a row is measured, or the few that are measured together. */
export interface Entry {
  name: string;
  /** @throws ReflowError where this device can't */
  measure(subjects: Subject[]): Promise<Row[]>;
}

/** All rows of a device, in the order in which they are printed. */
export function entriesOf(kind: Kind): Entry[] {
  const one = (name: string, measure: (subject: Subject) => Promise<Row>): Entry => ({
    name,
    measure: async (subjects) => [await measure(subjects.at(-1)!)],
  });
  return [
    ...TRANSPOSITIONS.flatMap((transposition) =>
      SIZES[kind].map((size) => ({
        name: `gemm/${transposition}/${size}`,
        measure: (subjects: Subject[]) => benchGemm(subjects, transposition, size),
      })),
    ),
    ...TRAINED.map((preset) => one(`train-step/${preset}`, (subject) => benchTraining(subject, preset))),
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

async function refusePeers(): Promise<Row[]> {
  throw new ReflowError("device", "other libraries are measured on the CPU: --device wasm");
}
