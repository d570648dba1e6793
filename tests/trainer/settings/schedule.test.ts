import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { learningRate, SCHEDULES } from "../../../trainer/settings/schedule.ts";

const options = { lr: 1, minLr: 0.1, warmup: 4, steps: 104 };
const rates = (schedule: (typeof SCHEDULES)[number], steps: number[]) =>
  steps.map((step) => learningRate(step, { ...options, schedule }));

describe("worked by hand", () => {
  test("all schedules share the warm-up", () => {
    for (const schedule of SCHEDULES) expect(rates(schedule, [0, 1, 2, 3])).toEqual([0.25, 0.5, 0.75, 1]);
  });

  test("cosine", () => {
    const [first, quarter, half, last, after] = rates("cosine", [4, 29, 54, 103, 104]);
    expect(first).toBe(1);
    expect(quarter).toBeCloseTo(0.1 + (0.9 * (1 + Math.SQRT1_2)) / 2, 12);
    expect(half).toBeCloseTo(0.55, 12);
    expect(last).toBeGreaterThan(0.1);
    expect(last).toBeCloseTo(0.1 + 0.45 * (1 + Math.cos(0.99 * Math.PI)), 12);
    expect(after).toBe(0.1);
  });

  test("wsd is constant, then decays linearly over the last fifth", () => {
    const wsd = { schedule: "wsd", lr: 1, minLr: 0, warmup: 10, steps: 100 } as const;
    const found = [10, 50, 80, 85, 90, 99, 100, 1000].map((step) => learningRate(step, wsd));
    [1, 1, 1, 0.75, 0.5, 0.05, 0, 0].forEach((rate, i) => {
      expect(found[i]).toBeCloseTo(rate, 12);
    });
  });

  test("a warm-up that extends into the last fifth shortens wsd's decay", () => {
    const late = { schedule: "wsd", lr: 1, minLr: 0, warmup: 90, steps: 100 } as const;
    expect([89, 90, 95].map((step) => learningRate(step, late))).toEqual([1, 1, 0.5]);
  });

  test("constant", () => {
    expect(rates("constant", [4, 103, 104, 1e6])).toEqual([1, 1, 1, 1]);
  });

  test("no warm-up", () => {
    for (const schedule of SCHEDULES) expect(learningRate(0, { ...options, warmup: 0, schedule })).toBe(1);
  });
});

test("the rate increases during warm-up, then never increases and stays between minLr and lr", () => {
  const whole = fc.nat(200);
  fc.assert(
    fc.property(fc.constantFrom(...SCHEDULES), whole, whole, (schedule, warmup, steps) => {
      let previous = 0;
      for (let step = 0; step < steps + 10; step++) {
        const rate = learningRate(step, { schedule, lr: 3e-4, minLr: 3e-5, warmup, steps });
        expect(rate).toBeGreaterThan(0);
        expect(rate).toBeLessThanOrEqual(3e-4);
        if (step < warmup) expect(rate).toBeGreaterThan(previous);
        else {
          expect(rate).toBeGreaterThanOrEqual(3e-5);
          if (step > warmup) expect(rate).toBeLessThanOrEqual(previous);
        }
        previous = rate;
      }
    }),
  );
});
