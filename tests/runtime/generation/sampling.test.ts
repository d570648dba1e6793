import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Sampler, type SamplingOptions } from "../../../runtime/generation/sampling.ts";
import { logprobs, topK } from "../../../runtime/math/logits.ts";
import { Random } from "../../../runtime/math/random.ts";
import { expectError } from "../../support/expect-error.ts";

const draw = (logits: number[], options: SamplingOptions, { seen = [] as number[], seed = 1 } = {}) =>
  new Sampler(options, logits.length).next(Float32Array.from(logits), seen, new Random(`${seed}`));

/** The fraction of draws of each token. */
function frequencies(logits: number[], options: SamplingOptions, draws: number): number[] {
  const sampler = new Sampler(options, logits.length);
  const random = new Random("frequencies");
  const counts = logits.map(() => 0);
  for (let i = 0; i < draws; i++) counts[sampler.next(Float32Array.from(logits), [], random)]++;
  return counts.map((n) => n / draws);
}

/** Logits whose softmax gives these probabilities. */
const ln = (...probabilities: number[]) => probabilities.map((p) => Math.log(p));

describe("tokens that may be drawn", () => {
  const support = (logits: number[], options: SamplingOptions) =>
    frequencies(logits, options, 400).flatMap((f, id) => (f > 0 ? [id] : []));
  const logits = ln(0.1, 0.4, 0.2, 0.05, 0.25);

  test("all tokens by default", () => {
    expect(support(logits, {})).toEqual([0, 1, 2, 3, 4]);
  });

  test("top-k keeps the k most likely tokens; among equals, the lowest ids", () => {
    expect(support(logits, { topK: 2 })).toEqual([1, 4]);
    expect(support([1, 2, 1, 1], { topK: 2 })).toEqual([0, 1]);
    expect(support(logits, { topK: 100 })).toEqual([0, 1, 2, 3, 4]);
  });

  test("top-p keeps the smallest set that reaches p", () => {
    expect(support(logits, { topP: 0.39 })).toEqual([1]);
    expect(support(logits, { topP: 0.41 })).toEqual([1, 4]);
    expect(support(logits, { topP: 0.64 })).toEqual([1, 4]);
    expect(support(logits, { topP: 0.66 })).toEqual([1, 2, 4]);
    expect(support(logits, { topP: 0 })).toEqual([1]);
  });

  test("top-p applies after temperature to the tokens that top-k keeps", () => {
    // Normalised over (.4, .25, .2), the first is 47%: less than half.
    expect(support(logits, { topK: 3, topP: 0.45 })).toEqual([1]);
    expect(support(logits, { topK: 3, topP: 0.5 })).toEqual([1, 4]);
    // At temperature 1/2 probabilities are squared: .16 of .275 is 58%.
    expect(support(logits, { temperature: 0.5, topP: 0.55 })).toEqual([1]);
    expect(support(logits, { temperature: 1, topP: 0.55 })).toEqual([1, 4]);
  });

  test("min-p keeps tokens at least p times as likely as the most likely one", () => {
    expect(support(logits, { minP: 0.6 })).toEqual([1, 4]);
    expect(support(logits, { minP: 0.45 })).toEqual([1, 2, 4]);
    expect(support(logits, { minP: 1 })).toEqual([1]);
    expect(support([3, 1, 3], { minP: 1 })).toEqual([0, 2]);
    // Squared: .0625 of .16 is 39%.
    expect(support(logits, { minP: 0.45, temperature: 0.5 })).toEqual([1]);
  });

  test("temperature 0 is greedy and chooses the lowest id among equals", () => {
    expect(draw([1, 3, 3, 2], { temperature: 0 })).toBe(1);
    expect(draw([-5, -4, -4], { temperature: 0, topK: 3, topP: 0.1 })).toBe(1);
  });

  test("a temperature near 0 neither overflows nor loses the most likely token", () => {
    expect(draw([1000, 1001, -1e30], { temperature: 1e-6 })).toBe(1);
    expect(draw([0, -1e38, 3e38], { temperature: 1e-300 })).toBe(2);
  });

  test("repetition penalty divides positive logits and multiplies negative ones", () => {
    expect(draw([2, 1.9], { temperature: 0, repetitionPenalty: 1.2 }, { seen: [0] })).toBe(1);
    expect(draw([2, 1.6], { temperature: 0, repetitionPenalty: 1.2 }, { seen: [0] })).toBe(0);
    expect(draw([-1, -1.1], { temperature: 0, repetitionPenalty: 1.2 }, { seen: [0] })).toBe(1);
    expect(draw([-1, -1.3], { temperature: 0, repetitionPenalty: 1.2 }, { seen: [0] })).toBe(0);
  });

  test("padding and tokens without a finite logit are never drawn", () => {
    const padded = Float32Array.of(0, 1, 50, 60);
    expect(new Sampler({ temperature: 0 }, 2).next(padded, [3], new Random("1"))).toBe(1);
    for (const options of [{}, { topK: 3 }, { topP: 0.99 }, { minP: 0.1 }, { temperature: 0 }]) {
      expect(support([Number.NaN, 0, Infinity, -Infinity, Number.NaN], options)).toEqual([1]);
    }
  });

  test("logits without a finite value are rejected", async () => {
    await expectError(() => draw([Number.NaN, -Infinity], {}), "numerics", /no logit is finite/);
  });

  test("the tokens equal those of a reference that sorts all logits", () => {
    const options = fc.record({
      temperature: fc.double({ min: 0.1, max: 3, noNaN: true }),
      topK: fc.integer({ min: 0, max: 30 }),
      topP: fc.double({ min: 0, max: 1, noNaN: true }),
      minP: fc.double({ min: 0, max: 0.9, noNaN: true }),
    });
    // Multiples of a quarter, so that ties occur.
    const logit = fc.integer({ min: -12, max: 12 }).map((x) => x / 4);
    fc.assert(
      fc.property(fc.array(logit, { minLength: 1, maxLength: 300, size: "max" }), options, (values, o) => {
        const allowed = sortedSupport(values, o);
        for (let seed = 0; seed < 20; seed++) expect(allowed).toContain(draw(values, o, { seed }));
      }),
    );
  });
});

/** The definition, with a full sort. Sets are widened if rounding could decide. */
function sortedSupport(
  logits: number[],
  { temperature, topK, topP, minP }: Required<Omit<SamplingOptions, "repetitionPenalty">>,
) {
  const most = Math.max(...logits);
  let kept = logits
    .map((x, id) => ({ id, weight: Math.exp((x - most) / temperature) }))
    .sort((a, b) => b.weight - a.weight || a.id - b.id);
  if (topK > 0) kept = kept.slice(0, topK);
  const total = kept.reduce((sum, { weight }) => sum + weight, 0);
  let sum = 0;
  const end = kept.findIndex(({ weight }) => {
    sum += weight;
    return sum >= (topP + 1e-12) * total;
  });
  if (end >= 0) kept = kept.slice(0, end + 1);
  return kept.filter(({ weight }) => weight >= minP - 1e-12).map(({ id }) => id);
}

describe("frequencies of draws", () => {
  // With 40,000 draws a standard deviation is at most .0025; the seed is fixed.
  const close = (actual: number[], expected: number[]) => {
    for (const [i, p] of expected.entries()) expect(Math.abs(actual[i] - p)).toBeLessThan(0.01);
  };

  test("follow the softmax", () => {
    close(frequencies(ln(0.1, 0.4, 0.2, 0.3), {}, 40_000), [0.1, 0.4, 0.2, 0.3]);
  });

  test("follow the softmax at the given temperature", () => {
    const squares = [0.01, 0.16, 0.04, 0.09].map((x) => x / 0.3);
    close(frequencies(ln(0.1, 0.4, 0.2, 0.3), { temperature: 0.5 }, 40_000), squares);
  });

  test("follow the renormalised probabilities after truncation", () => {
    close(frequencies(ln(0.1, 0.4, 0.2, 0.3), { topK: 2 }, 40_000), [0, 4 / 7, 0, 3 / 7]);
    close(frequencies(ln(0.1, 0.4, 0.2, 0.3), { topP: 0.85 }, 40_000), [0, 4 / 9, 2 / 9, 3 / 9]);
  });
});

test("depend on the seed", () => {
  const logits = Array.from({ length: 50 }, () => 0);
  const tokens = (seed: string) => {
    const [sampler, random] = [new Sampler({}, 50), new Random(seed)];
    return Array.from({ length: 20 }, () => sampler.next(Float32Array.from(logits), [], random));
  };
  expect(tokens("1")).toEqual(tokens("1"));
  expect(tokens("1")).not.toEqual(tokens("2"));
});

test("options out of range are rejected by name", async () => {
  const wrong: [SamplingOptions, RegExp][] = [
    [{ temperature: -1 }, /temperature is -1/],
    [{ temperature: Number.NaN }, /temperature is NaN/],
    [{ topK: 2.5 }, /topK is 2.5/],
    [{ topP: 1.1 }, /topP is 1.1/],
    [{ minP: -0.1 }, /minP is -0.1/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty is 0/],
  ];
  for (const [options, message] of wrong) await expectError(() => new Sampler(options, 5), "usage", message);
});

describe("largest", () => {
  test("returns the highest scores in order, the lowest index first among equals", () => {
    expect([...topK(Float32Array.of(3, 1, 4, 1, 5, 9, 2, 6, 5), 4)]).toEqual([5, 7, 4, 8]);
    expect([...topK(Float32Array.of(1, 2), 5)]).toEqual([1, 0]);
    expect([...topK(Float32Array.of(1, 2), 0)]).toEqual([]);
  });

  test("equals a full sort", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 500, size: "max" }),
        fc.nat(600),
        (scores, n) => {
          const sorted = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b).slice(0, n);
          expect([...topK(Float32Array.from(scores), n)]).toEqual(sorted);
        },
      ),
    );
  });
});

describe("logprobs", () => {
  test("are the log-softmax over all logits including padding; the most likely exclude padding", () => {
    const { logprob, top } = logprobs(Float32Array.from(ln(0.1, 0.4, 0.2, 0.3)), 0, 2, 3);
    expect(logprob).toBeCloseTo(Math.log(0.1), 6);
    expect(top.map(({ id }) => id)).toEqual([1, 2]);
    expect(top[0].logprob).toBeCloseTo(Math.log(0.4), 6);
    expect(top[1].logprob).toBeCloseTo(Math.log(0.2), 6);
  });

  test("do not overflow for large logits", () => {
    expect(logprobs(Float32Array.of(1000, 999), 1, 0, 2).logprob).toBeCloseTo(
      -1 - Math.log1p(Math.exp(-1)),
      5,
    );
  });
});
