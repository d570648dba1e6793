import { describe, expect, test } from "bun:test";
import { gini, hoyer, kurtosis, ranks, silhouettes, spearman } from "../../../runtime/math/sparsity.ts";

describe("measures", () => {
  test("kurtosis: 1 for ±1, 3.25 for 0 0 0 0 5", () => {
    expect(kurtosis([1, -1, 1, -1])).toBe(1);
    // Mean 1: squares 1·4 + 16 = 20, fourths 4 + 256 = 260; 5·260/400.
    expect(kurtosis([0, 0, 0, 0, 5])).toBeCloseTo(3.25, 12);
  });

  test("Hoyer: 1 for a single value, 0 for equal values, (2 − 7/5)/(2 − 1) for 3, 4, 0, 0", () => {
    expect(hoyer([0, 0, 7, 0])).toBeCloseTo(1, 12);
    expect(hoyer([2, -2, 2, 2])).toBeCloseTo(0, 12);
    expect(hoyer([3, -4, 0, 0])).toBeCloseTo(0.6, 12);
    expect(hoyer([0, 0])).toBe(0);
  });

  test("Gini: 0 for equal shares, 3/4 if one of four has all, 1/4 for 1, 2, 3, 4", () => {
    expect(gini([2, 2, 2])).toBe(0);
    expect(gini([0, 8, 0, 0])).toBe(0.75);
    expect(gini([4, 1, 3, 2])).toBe(0.25); // Σ|x−y| of all pairs is 20; 20/(2·16·2.5)
    expect(gini([0, 0])).toBe(0);
  });

  test("Spearman: ties share ranks", () => {
    expect(Array.from(ranks([10, 20, 10, 5]))).toEqual([2.5, 4, 2.5, 1]);
    expect(spearman([1, 2, 3, 4], [1, 8, 27, 64])).toBeCloseTo(1, 12);
    // d² = 1 + 1 + 0 + 0: 1 − 6·2/(4·15)
    expect(spearman([1, 2, 3, 4], [2, 1, 3, 4])).toBeCloseTo(0.8, 12);
    // Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5/√(1.5·2)
    expect(spearman([0, 0, 1], [1, 2, 3])).toBeCloseTo(1.5 / Math.sqrt(3), 12);
    expect(spearman([1, 1], [1, 2])).toBe(0);
  });

  test("silhouette: points 0, 1 and 4 on a line", () => {
    const points = [0, 1, 4];
    const distances = points.flatMap((x) => points.map((y) => Math.abs(x - y)));
    // a = 1, b = 4 → 3/4; a = 1, b = 3 → 2/3; the only point of its label → 0
    const [first, second, third] = silhouettes(distances, [0, 0, 1]);
    expect(first).toBeCloseTo(0.75, 12);
    expect(second).toBeCloseTo(2 / 3, 12);
    expect(third).toBe(0);
    // With the far point labelled as the first: a = 4, b = 1 → −3/4
    expect(silhouettes(distances, [0, 1, 0])[0]).toBeCloseTo(-0.75, 12);
  });
});
