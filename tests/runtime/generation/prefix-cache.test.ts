/** Prompts that share a prefix of ids reuse its keys and values. */
import { expect, test } from "bun:test";
import type { GenerateEvent, Prompt, TokenEvent } from "../../../runtime/generation/options.ts";
import type { GenerationPool } from "../../../runtime/generation/pool.ts";
import type { Model } from "../../../runtime/model/model.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { onBackends, randomIds } from "../transformer/inference-support.ts";
import { all, makePoolModel, startRequest, tokenizer } from "./pool-support.ts";

/** Tolerance of log-probabilities: prompts are split into different chunks, whose matrix products round differently. */
const TOLERANCE = 2e-5;

/** Reports all logits, as log-probabilities. */
const OPTIONS = { temperature: 0, maxTokens: 6, logprobs: 259 };

function close(found: readonly GenerateEvent[], expected: readonly GenerateEvent[], tolerance: number): void {
  expect(found.length).toBe(expected.length);
  for (const [i, event] of found.entries()) {
    const other = expected[i];
    expect(event.type).toBe(other.type);
    if (event.type !== "token") continue;
    expect(event.id).toBe((other as TokenEvent).id);
    const at = new Map((other as TokenEvent).topLogprobs!.map(({ id, logprob }) => [id, logprob]));
    for (const { id, logprob } of event.topLogprobs!) {
      expect(Math.abs(logprob - at.get(id)!)).toBeLessThanOrEqual(tolerance);
    }
  }
}

/** Runs a prompt in a pool and counts the ids that were reused. */
async function run(pool: GenerationPool, prompt: Prompt) {
  const before = pool.stats().prefixTokensReused;
  const events = await all(pool.generate(prompt, OPTIONS));
  return { events, reused: pool.stats().prefixTokensReused - before };
}

/** The events without a cache. */
const uncached = (model: Model, prompt: Prompt) => all(model.generate(prompt, OPTIONS));
const tokenIds = (events: readonly GenerateEvent[]) =>
  events.flatMap((event) => (event.type === "token" ? [event.id] : []));

for (const type of ["f32", "i8"] as const) {
  onBackends((backend) => {
    test(`${type}: a continued, repeated or branching text reuses its longest cached prefix`, async () => {
      const model = await makePoolModel(backend(), {
        type,
        context: 64,
        d_model: 32,
        n_signals: 32,
        d_ff: 64,
      });
      const pool = model.pool({ slots: 3 });
      const check = async (prompt: number[], reused: number) => {
        const found = await run(pool, prompt);
        expect(found.reused).toBe(reused);
        close(found.events, await uncached(model, prompt), TOLERANCE);
        return tokenIds(found.events);
      };
      const prompt = [...randomIds(model.config, 24)];
      const answer = await check(prompt, 0);
      // The last token was generated but never run.
      const whole = [...prompt, ...answer];
      await check([...whole, 7, 8, 9], whole.length - 1);
      // Everything but the last token, which runs because its logits are needed.
      await check(prompt, prompt.length - 1);
      await check([...prompt.slice(0, 10), 200, 201], 10);
      await check([...whole, 7, 5], whole.length + 1);
      await check([3, ...prompt], 0);
      await pool.drain();
    });
  });
}

test("on WASM with int8 weights rows are computed independently, so that the logits are equal to the bit", async () => {
  const { createWasmBackend } = await import("../../../runtime/backend/wasm/mod.ts");
  const backend = await createWasmBackend({ threads: 2 });
  // Unfactored, because products with B are in f32 and use different kernels for few and for many rows.
  const model = await makePoolModel(backend, {
    variant: "gpt2-new",
    type: "i8",
    context: 64,
    d_model: 32,
    d_ff: 64,
  });
  const pool = model.pool({ slots: 2 });
  const prompt = [...randomIds(model.config, 40)];
  const first = await run(pool, prompt);
  for (const length of [40, 33, 12]) {
    const { events, reused } = await run(pool, prompt.slice(0, length));
    expect(reused).toBe(length - 1);
    expect(events).toEqual(await uncached(model, prompt.slice(0, length)));
  }
  expect(first.events).toEqual(await uncached(model, prompt));
  backend.dispose();
});

test("prefixes are compared by ids, not by text", async () => {
  const model = await makePoolModel(new ReferenceBackend(), { n_layers: 1 });
  const pool = model.pool({ slots: 2 });
  const merged = tokenizer.encode("abab");
  const bytes = Int32Array.from("abab", (c) => tokenizer.encode(c)[0]);
  expect(tokenizer.decode(merged)).toBe(tokenizer.decode(bytes));
  await run(pool, merged);
  const { events, reused } = await run(pool, bytes);
  expect(reused).toBe(0);
  close(events, await uncached(model, bytes), 0);
});

test("a text that is being generated is reused without disturbing it", async () => {
  const model = await makePoolModel(new ReferenceBackend(), { context: 48 });
  const pool = model.pool({ slots: 3 });
  const prompt = randomIds(model.config, 20);
  const long = { temperature: 0, logprobs: 0 };
  const { events, first } = await startRequest(pool, prompt, long);
  const { events: found, reused } = await run(pool, [...prompt, 5]);
  expect(reused).toBe(20);
  close(found, await uncached(model, [...prompt, 5]), TOLERANCE);
  const rest = await all(events);
  expect(tokenIds([first.value as GenerateEvent, ...rest])).toEqual(
    tokenIds(await all(model.generate(prompt, long))),
  );
});

test("short prompts do not evict a long prefix", async () => {
  const model = await makePoolModel(new ReferenceBackend(), { n_layers: 1, context: 64 });
  const pool = model.pool({ slots: 4 });
  const prompt = [...randomIds(model.config, 30)];
  await run(pool, prompt);
  for (let id = 0; id < 8; id++) await run(pool, [id]);
  expect((await run(pool, [...prompt, 1])).reused).toBeGreaterThanOrEqual(30);
});

test("a prompt that was cancelled while being read is reused up to that point", async () => {
  const model = await makePoolModel(new ReferenceBackend(), { n_layers: 1, context: 400 });
  const pool = model.pool({ slots: 2 });
  // While another stream runs, a prompt is read in chunks of 16 tokens.
  const stream = await startRequest(pool, [1], { temperature: 0 });
  const prompt = randomIds(model.config, 300);
  const reading = pool.generate(prompt, OPTIONS);
  const first = reading.next();
  const tokens = pool.stats().tokens;
  for await (const _ of stream.events) if (pool.stats().tokens >= tokens + 4) break;
  await reading.return();
  expect(await first).toEqual({ done: true, value: undefined });
  const { events, reused } = await run(pool, prompt);
  expect(reused).toBeGreaterThanOrEqual(32);
  expect(reused).toBeLessThan(prompt.length - 1);
  close(events, await uncached(model, prompt), TOLERANCE);
});
