import { type Measurement, measurement } from "./measure.ts";

/** Values: a small sum's, and as many as `nano` and `small` have parameters. */
export const LENGTHS = { "1M": 2 ** 20, "7.3M": 7_277_824, "46M": 46_471_680 };
export const WORLDS = [2, 4];

/** The time of a sum over processes of this machine, and the bytes of values that each of them hands in a second. */
export async function benchAllReduce(size: keyof typeof LENGTHS, world: number): Promise<Measurement> {
  const { measureAllReduce } = await import("../../trainer/distributed/measure-all-reduce.ts");
  const [{ length, seconds }] = await measureAllReduce(world, [LENGTHS[size]]);
  return {
    ...measurement(`all-reduce/${size}/${world}`, undefined, "ms", 1000 * seconds),
    also: { value: (4 * length) / seconds / 1e9, unit: "GB/s" },
  };
}
