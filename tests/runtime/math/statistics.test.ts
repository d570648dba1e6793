import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Random } from "../../../runtime/math/random.ts";
import {
  bootstrap,
  clopperPearson,
  deviation,
  holm,
  mean,
  pValue,
  quantile,
  wilson,
} from "../../../runtime/math/statistics.ts";

describe("p-values", () => {
  test("count the draws at least as extreme in the tested direction, plus the observation", () => {
    const draws = [1, 2, 3, 4];
    expect(pValue(3, draws, "greater")).toBe(3 / 5);
    expect(pValue(3, draws, "less")).toBe(4 / 5);
    expect(pValue(5, draws, "greater")).toBe(1 / 5);
    expect(pValue(0, draws, "less")).toBe(1 / 5);
  });

  test("a draw that differs only by rounding counts as equally extreme", () => {
    expect(pValue(0.3, [0.1 + 0.2], "less")).toBe(1);
    expect(pValue(0.1 + 0.2, [0.3], "greater")).toBe(1);
  });

  test("are uniform under the null", () => {
    const random = new Random("uniform");
    const ps = Array.from({ length: 2000 }, () => {
      const draws = Float64Array.from({ length: 99 }, () => random.normal());
      return pValue(random.normal(), draws, "greater");
    });
    for (const level of [0.01, 0.05, 0.5]) {
      expect(Math.abs(ps.filter((p) => p <= level).length / 2000 - level)).toBeLessThan(
        4 * Math.sqrt(level / 2000),
      );
    }
  });
});

describe("Holm", () => {
  test("corrects .01, .04 and .03 in a family of four with one untested", () => {
    // Sorted .01·4 = .04, .03·3 = .09, .04·2 = .08, which is raised to the previous one.
    const [a, b, c] = holm([0.01, 0.04, 0.03], 4);
    expect(a).toBeCloseTo(0.04, 12);
    expect(b).toBeCloseTo(0.09, 12);
    expect(c).toBeCloseTo(0.09, 12);
  });

  test("is at least p and at most 1, keeps the order, and counts untested claims as 1", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }), (ps) => {
        const family = ps.length + 5;
        const corrected = holm(ps, family);
        const whole = holm([...ps, ...Array(5).fill(1)], family);
        expect(whole.slice(0, ps.length)).toEqual(corrected);
        for (const [i, p] of ps.entries()) {
          expect(corrected[i]).toBeGreaterThanOrEqual(p);
          expect(corrected[i]).toBeLessThanOrEqual(1);
          for (const [j, q] of ps.entries())
            if (p < q) expect(corrected[i]).toBeLessThanOrEqual(corrected[j]);
        }
      }),
    );
  });
});

describe("intervals", () => {
  test("Wilson: .490 to .943 for 8 of 10; upper bound z²/(n + z²) for 0 of 10", () => {
    const [low, high] = wilson(8, 10);
    expect(low).toBeCloseTo(0.4902, 4);
    expect(high).toBeCloseTo(0.9433, 4);
    expect(wilson(0, 10)[0]).toBe(0);
    expect(wilson(0, 10)[1]).toBeCloseTo(3.8415 / 13.8415, 4);
    expect(wilson(0, 0)).toEqual([0, 1]);
  });

  test("Clopper–Pearson: lower bound ∛.025 for 3 of 3, upper bound 1 − .025^(1/n) for 0 of n; 8 of 10", () => {
    expect(clopperPearson(3, 3)[0]).toBeCloseTo(0.025 ** (1 / 3), 10);
    expect(clopperPearson(3, 3)[1]).toBe(1);
    expect(clopperPearson(0, 5)[1]).toBeCloseTo(1 - 0.025 ** (1 / 5), 10);
    // P(X ≥ 8) = 45·p⁸q² + 10·p⁹q + p¹⁰ is .025 at .4439; P(X ≤ 8) = 1 − 10·p⁹q − p¹⁰ is .025 at .9748.
    const [low, high] = clopperPearson(8, 10);
    const [q, Q] = [1 - low, 1 - high];
    expect(45 * low ** 8 * q ** 2 + 10 * low ** 9 * q + low ** 10).toBeCloseTo(0.025, 10);
    expect(1 - 10 * high ** 9 * Q - high ** 10).toBeCloseTo(0.025, 10);
    expect(low).toBeCloseTo(0.4439, 4);
    expect(high).toBeCloseTo(0.9748, 4);
  });

  test("the exact interval contains the observed rate, including for many trials", () => {
    for (const [k, n] of [
      [0, 1],
      [500, 1500],
      [1999, 2000],
    ]) {
      const [low, high] = clopperPearson(k, n);
      expect(low).toBeLessThanOrEqual(k / n);
      expect(high).toBeGreaterThanOrEqual(k / n);
      expect(Math.abs(low - wilson(k, n)[0])).toBeLessThan(n > 100 ? 0.002 : 1);
    }
  });

  test("the bootstrap interval of a mean matches its standard error and depends only on the seed", () => {
    const random = new Random("values");
    const values = Array.from({ length: 400 }, () => random.normal());
    const [low, high] = bootstrap(values, mean, new Random("b"));
    expect((high - low) / (2 * 1.96 * (deviation(values) / 20))).toBeCloseTo(1, 0.8);
    expect(low).toBeLessThan(mean(values));
    expect(high).toBeGreaterThan(mean(values));
    expect(bootstrap(values, mean, new Random("b"))).toEqual([low, high]);
  });

  test("quantiles are interpolated, and the deviation is that of a sample", () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([4, 1, 3, 2], 1)).toBe(4);
    expect(quantile([7], 0.3)).toBe(7);
    expect(deviation([1, 3])).toBeCloseTo(Math.SQRT2, 12);
    expect(deviation([5])).toBe(0);
  });
});
