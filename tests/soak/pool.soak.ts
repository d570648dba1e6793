/** Overhead, latency and memory of continuous batching with the bundled model. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { GenerationPool } from "../../runtime/generation/pool.ts";
import { loadModel } from "../../runtime/mod.ts";
import type { Model } from "../../runtime/model/model.ts";

const TIMEOUT = { timeout: 3_600_000 };
const MODEL = join(import.meta.dirname, "../../server/model");
const OPENINGS = [
  "Once upon a time",
  "The little dog",
  "One day a girl named Lily",
  "In the garden there was",
];
const NOUNS = [
  "a big red ball",
  "her mom and dad",
  "the old tree",
  "his best friend",
  "a tiny bird",
  "the sun",
];

/** Prompts that share almost no prefix. */
const promptOf = (i: number): string =>
  `${i} ${OPENINGS[i % OPENINGS.length]} and ${NOUNS[i % NOUNS.length]}`;

/** Generation options for all measurements. */
const options = (seed: number, maxTokens = 96) => ({ seed, maxTokens, temperature: 1 });

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];

/** Times of one stream in milliseconds: to the first token, and between tokens. */
async function timeStream(pool: GenerationPool, i: number, maxTokens?: number) {
  let last = performance.now();
  const gaps: number[] = [];
  for await (const event of pool.generate(promptOf(i), options(i, maxTokens))) {
    if (event.type === "finish") break;
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  const [first, ...rest] = gaps;
  return { first, gaps: rest, tokens: gaps.length };
}

async function tokensPerSecond(run: () => Promise<number>): Promise<number> {
  const start = performance.now();
  const tokens = await run();
  return (1000 * tokens) / (performance.now() - start);
}

async function runBatch(model: Model, count: number): Promise<number> {
  let tokens = 0;
  const prompts = Array.from({ length: count }, (_, i) => promptOf(i));
  for await (const event of model.generate(prompts, options(1))) if (event.type === "token") tokens++;
  return tokens;
}

test("64 streams in the pool reach 90% of the throughput of one batch of 64", TIMEOUT, async () => {
  using model = await loadModel(MODEL);
  const ratios: number[] = [];
  // Measured alternately, so that other load on the machine affects both.
  for (let round = 0; round < 5; round++) {
    // A new pool per round, because a prefix cache from the last round would help.
    const pool = model.pool({ slots: 64 });
    const bare = await tokensPerSecond(() => runBatch(model, 64));
    const firsts: number[] = [];
    const gaps: number[] = [];
    const pooled = await tokensPerSecond(async () => {
      const streams = await Promise.all(Array.from({ length: 64 }, (_, i) => timeStream(pool, i)));
      for (const { first, gaps: own } of streams) {
        firsts.push(first);
        gaps.push(...own);
      }
      return streams.reduce((sum, { tokens }) => sum + tokens, 0);
    });
    ratios.push(pooled / bare);
    const report = [
      `bare ${bare.toFixed(0)} tokens/s, pool ${pooled.toFixed(0)}: ${(pooled / bare).toFixed(3)}`,
    ];
    report.push(
      `first token p50 ${quantile(firsts, 0.5).toFixed(0)} ms, last ${quantile(firsts, 1).toFixed(0)} ms`,
    );
    report.push(
      `between tokens p50 ${quantile(gaps, 0.5).toFixed(1)} ms, p99 ${quantile(gaps, 0.99).toFixed(1)} ms`,
    );
    console.log(report.join("; "));
    await pool.drain();
  }
  const median = quantile(ratios, 0.5);
  console.log(`median ratio ${median.toFixed(3)}`);
  assert.ok(median >= 0.9, `the median ratio is ${median}`);
});

test(
  "with 16 concurrent clients the p99 time between tokens is at most 3 times the median",
  TIMEOUT,
  async () => {
    using model = await loadModel(MODEL);
    const pool = model.pool({ slots: 16 });
    const firsts: number[] = [];
    const gaps: number[] = [];
    const client = async (c: number) => {
      for (let i = 0; i < 8; i++) {
        const { first, gaps: own } = await timeStream(pool, 16 * i + c, 40 + 5 * c);
        firsts.push(first);
        gaps.push(...own);
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, c) => client(c)));
    const [p50, p99] = [quantile(gaps, 0.5), quantile(gaps, 0.99)];
    const most = quantile(gaps, 1);
    console.log(
      `between tokens p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, max ${most.toFixed(1)} ms`,
    );
    console.log(
      `first token p50 ${quantile(firsts, 0.5).toFixed(1)} ms, p99 ${quantile(firsts, 0.99).toFixed(1)} ms`,
    );
    assert.ok(p99 <= 3 * p50, `p99 ${p99} ms, median ${p50} ms`);
  },
);

test("memory does not grow from requests 2,000 to 4,000 to requests 8,000 to 10,000", TIMEOUT, async () => {
  using model = await loadModel(MODEL);
  const pool = model.pool({ slots: 16 });
  // One signal for all requests, to detect listeners that are not removed.
  const { signal } = new AbortController();
  /** Resident memory in MiB, every hundred requests; garbage collection makes it vary by 50. */
  const resident: number[] = [];
  let next = 0;
  const client = async () => {
    while (next < 10_000) {
      const i = next++;
      if (i % 100 === 0) {
        resident.push(Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024);
      }
      const stream = pool.generate(promptOf(i).slice(0, 8), { ...options(i, 2 + (i % 3)), signal });
      // Every fourth request is cancelled after its first token.
      for await (const _ of stream) if (i % 4 === 0) break;
    }
  };
  await Promise.all(Array.from({ length: 24 }, client));
  const [early, late] = [resident.slice(20, 40), resident.slice(80)].map((some) => quantile(some, 0.5));
  console.log(
    `RSS, medians: ${early.toFixed(1)} MiB after 2,000 to 4,000, ${late.toFixed(1)} after 8,000 to 10,000`,
  );
  assert.ok(late - early < 20, `${early} MiB, then ${late} MiB`);
});
