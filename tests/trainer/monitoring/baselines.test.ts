import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { TokenSource } from "../../../trainer/data/shards.ts";
import { countingBaselines } from "../../../trainer/monitoring/baselines.ts";

const source = (ids: ArrayLike<number>): TokenSource => ({
  length: ids.length,
  name: "ids",
  read(position, into) {
    for (let i = 0; i < into.length; i++) into[i] = ids[position + i];
  },
  close() {},
});

describe("worked by hand", () => {
  // Pairs 0→1, 1→0, 0→1, 1→2: N = 4, V = 4; c(0) = 1, c(1) = 2, c(2) = 1, c(3) = 0.
  const train = source([0, 1, 0, 1, 2]);
  const p = [2 / 8, 3 / 8, 2 / 8, 1 / 8];

  test("a seen pair", () => {
    const found = countingBaselines(train, source([0, 1]), 4);
    expect(found.unigram).toBeCloseTo(-Math.log(p[1]), 12);
    // c(0,1) = 2, F(0) = 1
    expect(found.bigram).toBeCloseTo(-Math.log((2 + p[1]) / (2 + 1)), 12);
  });

  test("an unseen pair, and a first token that was never first", () => {
    // F(1) = 2, of 2 pairs; 2 and 3 never come first.
    const found = countingBaselines(train, source([1, 3, 2, 0]), 4);
    expect(found.unigram).toBeCloseTo(-Math.log(p[3] * p[2] * p[0]) / 3, 12);
    expect(found.bigram).toBeCloseTo(-Math.log(((0 + 2 * p[3]) / (2 + 2)) * p[2] * p[0]) / 3, 12);
  });
});

/** A reference implementation of the same equations, with Maps. */
function reference(train: number[], val: number[], V: number): { unigram: number; bigram: number } {
  const count = new Map<string, number>();
  const add = (key: string) => count.set(key, (count.get(key) ?? 0) + 1);
  const of = (key: string) => count.get(key) ?? 0;
  for (let i = 1; i < train.length; i++) {
    if (of(`${train[i - 1]},${train[i]}`) === 0) add(`distinct ${train[i - 1]}`);
    add(`${train[i - 1]},${train[i]}`);
    add(`first ${train[i - 1]}`);
    add(`second ${train[i]}`);
  }
  let unigram = 0;
  let bigram = 0;
  for (let i = 1; i < val.length; i++) {
    const [v, w] = [val[i - 1], val[i]];
    const p = (of(`second ${w}`) + 1) / (train.length - 1 + V);
    unigram -= Math.log(p);
    const [first, distinct] = [of(`first ${v}`), of(`distinct ${v}`)];
    bigram -= Math.log(first ? (of(`${v},${w}`) + distinct * p) / (first + distinct) : p);
  }
  return { unigram: unigram / (val.length - 1), bigram: bigram / (val.length - 1) };
}

test("agrees with the reference implementation", () => {
  const ids = fc.array(fc.nat(6), { minLength: 2, maxLength: 60 });
  fc.assert(
    fc.property(ids, ids, fc.constantFrom(7, 70_000), (train, val, V) => {
      const found = countingBaselines(source(train), source(val), V);
      const expected = reference(train, val, V);
      expect(found.unigram).toBeCloseTo(expected.unigram, 9);
      expect(found.bigram).toBeCloseTo(expected.bigram, 9);
    }),
    { numRuns: 30 },
  );
});

test("every pair at a block boundary is counted exactly once", () => {
  const train = Array.from({ length: 200_001 }, (_, i) => i % 7);
  const found = countingBaselines(source(train), source([0, 1, 2, 3, 4, 5, 6, 0]), 7);
  const expected = reference(train, [0, 1, 2, 3, 4, 5, 6, 0], 7);
  expect(found.unigram).toBeCloseTo(expected.unigram, 12);
  expect(found.bigram).toBeCloseTo(expected.bigram, 12);
});

test("very long data is sampled in evenly spaced blocks", () => {
  const length = 2 ** 25 + 2;
  const half = length / 2;
  let most = 0;
  let read = 0;
  const halves: TokenSource = {
    length,
    name: "halves",
    read(position, into) {
      into.fill(position < half ? 0 : 1);
      most = Math.max(most, position);
      read += into.length;
    },
    close() {},
  };
  // Both halves are sampled: p(1) is about 0.5, and p(1|1) about 1.
  const found = countingBaselines(halves, source([1, 1]), 2);
  expect(found.unigram).toBeCloseTo(Math.LN2, 1);
  expect(found.bigram).toBeCloseTo(0, 5);
  expect(most).toBeGreaterThan(0.99 * length);
  expect(read).toBeLessThan(1.1 * length);
});

test("the conditional probabilities sum to 1", () => {
  const V = 8;
  const train = source([0, 1, 0, 2, 5, 0, 1, 1, 1, 7, 0]);
  for (let v = 0; v < V; v++) {
    let sum = 0;
    for (let w = 0; w < V; w++) sum += Math.exp(-countingBaselines(train, source([v, w]), V).bigram);
    expect(sum).toBeCloseTo(1, 12);
  }
});
