import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { permuted, sample, shuffle, shuffleWithin } from "../../../runtime/math/permutation.ts";
import { Random } from "../../../runtime/math/random.ts";

describe("permutations", () => {
  test("a shuffle is a uniform permutation", () => {
    const random = new Random("shuffle");
    const counts = Array.from({ length: 3 }, () => [0, 0, 0]);
    for (let i = 0; i < 3000; i++)
      for (const [at, x] of shuffle([0, 1, 2], random).entries()) counts[at][x]++;
    for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(110);
  });

  test("shuffleWithin keeps every item in its run", () => {
    const out = shuffleWithin([0, 1, 2, 3, 4, 5, 6], 3, new Random("runs"));
    expect(out.map((x) => Math.floor(x / 3))).toEqual([0, 0, 0, 1, 1, 1, 2]);
    expect(out).not.toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...out].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("a sample has distinct numbers in ascending order", () => {
    fc.assert(
      fc.property(fc.nat(50), fc.nat(60), fc.string(), (n, count, key) => {
        const drawn = sample(n, count, new Random(key));
        expect(drawn.length).toBe(Math.min(n, count));
        expect(drawn.every((x, i) => x >= 0 && x < n && (i === 0 || x > drawn[i - 1]))).toBe(true);
      }),
    );
  });

  test("permuted labels keep their counts", () => {
    const sums = permuted([1, 2, 3], 20, new Random("p"), (labels) => labels[0] + 10 * labels.length);
    expect(new Set(sums)).toEqual(new Set([31, 32, 33]));
  });
});
