/** What is cached of one text serves another that begins with the same ids. */
import { expect, test } from "bun:test";
import type { GenerateEvent, Prompt, TokenEvent } from "../../../runtime/generation/options.ts";
import type { GenerationPool } from "../../../runtime/generation/pool.ts";
import type { Model } from "../../../runtime/model/model.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { onBackends, randomIds } from "../transformer/inference-support.ts";
import { all, begun, pooled, tokenizer } from "./pool-support.ts";

/** The most that a log-probability may differ: prompts are cut into other pieces, whose products round otherwise. */
const TOLERANCE = 2e-5;

/** All logits, as log-probabilities. */
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

/** Runs a prompt in a pool, and says how many of its ids were cached. */
async function run(pool: GenerationPool, prompt: Prompt) {
  const before = pool.stats().prefixTokensReused;
  const events = await all(pool.generate(prompt, OPTIONS));
  return { events, reused: pool.stats().prefixTokensReused - before };
}

/** What nobody has cached anything for. */
const fresh = (model: Model, prompt: Prompt) => all(model.generate(prompt, OPTIONS));
const said = (events: readonly GenerateEvent[]) =>
  events.flatMap((event) => (event.type === "token" ? [event.id] : []));

for (const type of ["f32", "i8"] as const) {
  onBackends((backend) => {
    test(`${type}: a text that goes on, comes again, or branches off`, async () => {
      const model = await pooled(backend(), { type, context: 64, d_model: 32, n_signals: 32, d_ff: 64 });
      const pool = model.pool({ slots: 3 });
      const check = async (prompt: number[], reused: number) => {
        const found = await run(pool, prompt);
        expect(found.reused).toBe(reused);
        close(found.events, await fresh(model, prompt), TOLERANCE);
        return said(found.events);
      };
      const prompt = [...randomIds(model.config, 24)];
      const answer = await check(prompt, 0);
      // The last token was said, but never run.
      const whole = [...prompt, ...answer];
      await check([...whole, 7, 8, 9], whole.length - 1);
      // All of it but the last token, which is run for its logits.
      await check(prompt, prompt.length - 1);
      await check([...prompt.slice(0, 10), 200, 201], 10);
      await check([...whole, 7, 5], whole.length + 1);
      await check([3, ...prompt], 0);
      await pool.drain();
    });
  });
}

test("on WASM with int8 weights each row's products are by themselves: the logits are the same to the bit", async () => {
  const { createWasmBackend } = await import("../../../runtime/backend/wasm/mod.ts");
  const backend = await createWasmBackend({ threads: 2 });
  // Unfactored: B is multiplied in f32, by other kernels for a few rows than for many.
  const model = await pooled(backend, {
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
    expect(events).toEqual(await fresh(model, prompt.slice(0, length)));
  }
  expect(first.events).toEqual(await fresh(model, prompt));
  backend.dispose();
});

test("by ids, not by text", async () => {
  const model = await pooled(new ReferenceBackend(), { n_layers: 1 });
  const pool = model.pool({ slots: 2 });
  const merged = tokenizer.encode("abab");
  const bytes = Int32Array.from("abab", (c) => tokenizer.encode(c)[0]);
  expect(tokenizer.decode(merged)).toBe(tokenizer.decode(bytes));
  await run(pool, merged);
  const { events, reused } = await run(pool, bytes);
  expect(reused).toBe(0);
  close(events, await fresh(model, bytes), 0);
});

test("also from a text that is being generated, which goes on undisturbed", async () => {
  const model = await pooled(new ReferenceBackend(), { context: 48 });
  const pool = model.pool({ slots: 3 });
  const prompt = randomIds(model.config, 20);
  const long = { temperature: 0, logprobs: 0 };
  const { events, first } = await begun(pool, prompt, long);
  const { events: found, reused } = await run(pool, [...prompt, 5]);
  expect(reused).toBe(20);
  close(found, await fresh(model, [...prompt, 5]), TOLERANCE);
  const rest = await all(events);
  expect(said([first.value as GenerateEvent, ...rest])).toEqual(
    said(await all(model.generate(prompt, long))),
  );
});

test("what fewer others can take is kept longest: texts of a conversation stay while short ones pass by", async () => {
  const model = await pooled(new ReferenceBackend(), { n_layers: 1, context: 64 });
  const pool = model.pool({ slots: 4 });
  const prompt = [...randomIds(model.config, 30)];
  await run(pool, prompt);
  for (let id = 0; id < 8; id++) await run(pool, [id]);
  expect((await run(pool, [...prompt, 1])).reused).toBeGreaterThanOrEqual(30);
});

test("a prompt that was left half way serves the next", async () => {
  const model = await pooled(new ReferenceBackend(), { n_layers: 1, context: 400 });
  const pool = model.pool({ slots: 2 });
  // With a stream beside it a prompt is read in pieces of 16.
  const stream = await begun(pool, [1], { temperature: 0 });
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
  close(events, await fresh(model, prompt), TOLERANCE);
});
