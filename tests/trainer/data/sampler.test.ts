import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { countWindows, readBatch, Sampler } from "../../../trainer/data/sampler.ts";
import type { TokenSource } from "../../../trainer/data/shards.ts";
import { errorText } from "./expect-error.ts";

/** The tokens 0, 1, 2, … */
const counting = (length: number): TokenSource => ({
  length,
  name: "counting.bin",
  read(position, into) {
    if (position + into.length > length) throw new RangeError();
    for (let i = 0; i < into.length; i++) into[i] = position + i;
  },
  close() {},
});

const epoch = (sampler: Sampler, index: number) =>
  Array.from({ length: sampler.windows }, (_, i) => sampler.window(index * sampler.windows + i));

const inOrder = (windows: number) => Array.from({ length: windows }, (_, i) => i);

describe("countWindows", () => {
  test("the last window requires a token for its last target", () => {
    expect(countWindows(counting(9), 4)).toBe(2);
    expect(countWindows(counting(8), 4)).toBe(1);
    expect(countWindows(counting(5), 4)).toBe(1);
  });

  test("the error names the number of tokens required", async () => {
    const text = await errorText("data", () => countWindows(counting(256), 256));
    expect(text).toContain("counting.bin has 256 tokens, but a window of context 256 requires 257");
  });
});

describe("sequential", () => {
  test("step s reads windows s·B to s·B + B − 1, and the next epoch follows", () => {
    const source = counting(3 * 4 + 2);
    const sampler = new Sampler({ windows: countWindows(source, 4), order: "sequential", seed: 1 });
    const ids = new Int32Array(8);
    const targets = new Int32Array(8);
    readBatch(source, sampler, 0, ids, targets, 4);
    expect([...ids]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...targets]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    readBatch(source, sampler, 2, ids, targets, 4);
    expect([...ids]).toEqual([8, 9, 10, 11, 0, 1, 2, 3]);
    expect([...targets]).toEqual([9, 10, 11, 12, 1, 2, 3, 4]);
  });
});

describe("shuffled", () => {
  test("every epoch contains every window once", () => {
    const seed = fc.oneof(fc.nat(), fc.integer(), fc.maxSafeNat());
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 600 }), seed, fc.nat(1000), (windows, seed, index) => {
        const sampler = new Sampler({ windows, order: "shuffled", seed });
        expect(epoch(sampler, index).sort((a, b) => a - b)).toEqual(inOrder(windows));
      }),
    );
  });

  test("supports more than 2^31 windows", () => {
    const sampler = new Sampler({ windows: 2 ** 32, order: "shuffled", seed: 5 });
    const found = Array.from({ length: 10_000 }, (_, n) => sampler.window(n));
    expect(new Set(found).size).toBe(found.length);
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...found)).toBeLessThan(2 ** 32);
    expect(found.filter((window) => window >= 2 ** 31).length / found.length).toBeCloseTo(0.5, 1);
  });

  test("the window depends only on seed and n", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.nat(), fc.array(fc.nat(1000)), (windows, seed, ns) => {
        const options = { windows, order: "shuffled", seed } as const;
        const sampler = new Sampler(options);
        expect(ns.map((n) => sampler.window(n))).toEqual(ns.map((n) => new Sampler(options).window(n)));
      }),
    );
  });

  test("epochs differ in order, and so do seeds that differ in any bit", () => {
    const orders = new Set<string>();
    for (let index = 0; index < 50; index++) {
      orders.add(`${epoch(new Sampler({ windows: 50, order: "shuffled", seed: 1 }), index)}`);
    }
    for (let bit = 1; bit < 53; bit++) {
      orders.add(`${epoch(new Sampler({ windows: 50, order: "shuffled", seed: 1 + 2 ** bit }), 0)}`);
    }
    orders.add(`${epoch(new Sampler({ windows: 50, order: "shuffled", seed: -1 }), 0)}`);
    expect(orders.size).toBe(50 + 52 + 1);
  });

  test("over many epochs every position gets every window about equally often", () => {
    // χ² with (n−1)² degrees of freedom, k; its standard deviation is √(2k).
    for (const n of [2, 3, 4, 5, 7, 16, 17]) {
      const epochs = 2_000;
      const sampler = new Sampler({ windows: n, order: "shuffled", seed: 3 });
      const seen = new Float64Array(n * n);
      for (let e = 0; e < epochs; e++) {
        epoch(sampler, e).forEach((window, i) => {
          seen[i * n + window]++;
        });
      }
      const expected = epochs / n;
      // Rows and columns add up to `epochs`, which takes (n−1)/n of the variance.
      const chi2 = seen.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0) * ((n - 1) / n);
      const freedom = (n - 1) ** 2;
      expect(Math.abs(chi2 - freedom)).toBeLessThan(5 * Math.sqrt(2 * freedom));
    }
  });

  test("all six orders of three windows occur about equally often", () => {
    const sampler = new Sampler({ windows: 3, order: "shuffled", seed: 9 });
    const seen = new Map<string, number>();
    for (let e = 0; e < 3_000; e++) {
      const order = `${epoch(sampler, e)}`;
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    expect(seen.size).toBe(6);
    for (const count of seen.values()) expect(Math.abs(count - 500)).toBeLessThan(5 * Math.sqrt(500));
  });

  test("adjacent windows are as far apart as in a random order", () => {
    const sampler = new Sampler({ windows: 10_001, order: "shuffled", seed: 1 });
    const order = epoch(sampler, 0);
    let distance = 0;
    for (let i = 1; i < order.length; i++) distance += Math.abs(order[i] - order[i - 1]);
    // The mean distance of two uniform draws is a third of the range.
    expect(distance / (order.length - 1) / 10_001).toBeCloseTo(1 / 3, 1);
    expect(order.filter((window, i) => window === i).length).toBeLessThan(10);
  });

  test("one window", () => {
    const sampler = new Sampler({ windows: 1, order: "shuffled", seed: 7 });
    expect([0, 1, 2, 1e12].map((n) => sampler.window(n))).toEqual([0, 0, 0, 0]);
  });

  test("an invalid number of windows throws a RangeError", () => {
    for (const windows of [0, 1.5, 2 ** 33]) {
      expect(() => new Sampler({ windows, order: "shuffled", seed: 7 })).toThrow(RangeError);
    }
  });
});
