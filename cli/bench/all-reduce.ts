import { type Measurement, measurement } from "./measure.ts";

/** Numbers of summed values: 2^20, and the parameter counts of `nano` and `small`. */
export const LENGTHS = { "1M": 2 ** 20, "7.3M": 7_277_824, "46M": 46_471_680 };
export const WORLDS = [2, 4];

/** Time of an all-reduce between processes of this machine, and the bytes that each process contributes per second. */
export async function benchAllReduce(size: keyof typeof LENGTHS, world: number): Promise<Measurement> {
  const { measureAllReduce } = await import("../../trainer/distributed/measure-all-reduce.ts");
  const [{ length, seconds }] = await measureAllReduce(world, [LENGTHS[size]]);
  return {
    ...measurement(`all-reduce/${size}/${world}`, undefined, "ms", 1000 * seconds),
    also: { value: (4 * length) / seconds / 1e9, unit: "GB/s" },
  };
}
