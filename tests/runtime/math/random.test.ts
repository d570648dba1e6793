import { describe, expect, test } from "bun:test";
import { Random } from "../../../runtime/math/random.ts";

const take = (key: string, count: number, draw: (random: Random) => number): number[] => {
  const random = new Random(key);
  return Array.from({ length: count }, () => draw(random));
};

describe("Random", () => {
  test("the key determines the stream", () => {
    const bits = (key: string) => take(key, 20, (r) => r.uint32());
    expect(bits("1/recipe")).toEqual(bits("1/recipe"));
    for (const key of ["", "1/recipf", "2/recipe", "1/recip", "eciper/1"]) {
      expect(bits(key)).not.toEqual(bits("1/recipe"));
    }
  });

  test("keys that differ in one digit give independent streams", () => {
    const streams = Array.from({ length: 100 }, (_, seed) => take(`${seed}/basis`, 50, (r) => r.uint32()));
    expect(new Set(streams.flat()).size).toBe(5000);
    // Every bit of the first draw is set in about half of the streams.
    for (let bit = 0; bit < 32; bit++) {
      const set = streams.filter(([x]) => (x >>> bit) & 1).length;
      expect(Math.abs(set - 50)).toBeLessThan(25); // five standard deviations
    }
  });

  test("uniform fills [0, 1) evenly", () => {
    const draws = take("uniform", 20_000, (r) => r.uniform());
    const bins = new Array<number>(20).fill(0);
    for (const x of draws) {
      if (!(x >= 0 && x < 1)) throw new RangeError(`${x}`);
      bins[Math.floor(x * 20)]++;
    }
    for (const count of bins) expect(Math.abs(count - 1000)).toBeLessThan(155); // five standard deviations
  });

  test("normal has mean 0, variance 1, skewness 0 and kurtosis 3", () => {
    const draws = take("normal", 40_000, (r) => r.normal());
    const moment = (n: number) => draws.reduce((sum, x) => sum + x ** n, 0) / draws.length;
    expect(Math.abs(moment(1))).toBeLessThan(0.025);
    expect(moment(2)).toBeCloseTo(1, 1);
    expect(moment(3)).toBeCloseTo(0, 0);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.25);
  });
});
