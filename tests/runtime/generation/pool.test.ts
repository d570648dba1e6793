import { expect, test } from "bun:test";
import fc from "fast-check";
import { VARIANTS } from "../../../runtime/config/config.ts";
import type { GenerateEvent, GenerateOptions, TokenEvent } from "../../../runtime/generation/options.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import type { Hook } from "../../../runtime/transformer/hooks.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { onBackends, randomIds } from "../transformer/inference-support.ts";
import { all, generateDirectly, makePoolModel, tokenizer } from "./pool-support.ts";

const SAMPLED = { temperature: 0.8, topK: 20, topP: 0.9, seed: 5, repetitionPenalty: 1.1 };

onBackends((backend) => {
  for (const variant of VARIANTS) {
    test(`${variant}: with more requests than slots each gets the same tokens as alone`, async () => {
      const model = await makePoolModel(backend(), { variant });
      const pool = model.pool({ slots: 3 });
      const prompts = [7, 1, 12, 3, 24, 5, 2].map((length, i) => randomIds(model.config, length, i));
      for (const options of [{ temperature: 0 }, SAMPLED]) {
        const found = await Promise.all(prompts.map((prompt) => all(pool.generate(prompt, options))));
        for (const [i, prompt] of prompts.entries())
          expect(found[i]).toEqual(await generateDirectly(model, prompt, options));
      }
      expect(pool.stats()).toMatchObject({ slots: 3, active: 0, queued: 0 });
      await pool.drain();
    });
  }

  test("requests that arrive while others run join the batch and change nothing", async () => {
    const model = await makePoolModel(backend(), { context: 40 });
    const pool = model.pool({ slots: 4 });
    const prompts = [9, 2, 30, 5, 17, 1].map((length, i) => randomIds(model.config, length, i));
    const runs: Promise<GenerateEvent[]>[] = [];
    const first = pool.generate(prompts[0], SAMPLED);
    const events: GenerateEvent[] = [];
    for await (const event of first) {
      events.push(event);
      const next = prompts[runs.length + 1];
      if (next) runs.push(all(pool.generate(next, SAMPLED)));
    }
    const found = [events, ...(await Promise.all(runs))];
    for (const [i, each] of found.entries())
      expect(each).toEqual(await generateDirectly(model, prompts[i], SAMPLED));
    await pool.drain();
  });

  test("requests with interventions, hooks or a patch run outside the batch and get the same tokens as alone", async () => {
    const model = await makePoolModel(backend());
    const pool = model.pool({ slots: 3 });
    const prompt = randomIds(model.config, 6);
    const intervention: Intervention = { op: "add", target: { signal: 3 }, hook: "hook_embed", strength: 4 };
    const hook: Hook = ["blocks.0.hook_resid_post", ({ data }) => data.map((x, i) => x + (i % 3))];
    const patch = { model: "0".repeat(64), edits: [{ token: 65, signal: 2, delta: 2 }] };
    const options: GenerateOptions[] = [
      { ...SAMPLED },
      { ...SAMPLED, interventions: [intervention] },
      { ...SAMPLED, hooks: [hook] },
      { ...SAMPLED, patch },
      { ...SAMPLED, cached: false },
    ];
    const found = await Promise.all(options.map((each) => all(pool.generate(prompt, each))));
    for (const [i, each] of options.entries())
      expect(found[i]).toEqual(await generateDirectly(model, prompt, each));
    expect(found[1]).not.toEqual(found[0]);
    await pool.drain();
  });
});

test("stop strings, log-probabilities and finish events equal those of generate", async () => {
  const model = await makePoolModel(new ReferenceBackend());
  const pool = model.pool();
  const text = (await generateDirectly(model, "a", { temperature: 0 })).map((event) => event.text).join("");
  const cases: [string, GenerateOptions][] = [
    ["a", { temperature: 0, stop: text.slice(3, 5) }],
    ["a", { temperature: 0, logprobs: 3, maxTokens: 4 }],
    ["", { seed: 1 }],
    ["abc", { maxTokens: 0 }],
    ["x".repeat(24), {}],
  ];
  for (const [prompt, options] of cases) {
    expect(await all(pool.generate(prompt, options))).toEqual(await generateDirectly(model, prompt, options));
  }
  // Separate requests with the same prompt and seed get the same tokens.
  const [one, two] = await Promise.all([1, 2].map(() => all(pool.generate("ab", { seed: 3 }))));
  expect(one).toEqual(two);
  expect(await all(pool.generate("ab"))).not.toEqual(await all(pool.generate("ab")));
});

test("an invalid request fails alone, and the others continue", async () => {
  const model = await makePoolModel(new ReferenceBackend());
  const pool = model.pool({ slots: 2 });
  const good = all(pool.generate([1, 2], { seed: 1 }));
  const wrong: [Parameters<typeof pool.generate>, string, RegExp][] = [
    [[new Int32Array(25)], "data", /25 tokens, the context 24/],
    [[[263]], "data", /token id 263/],
    [[[1], { maxTokens: -1 }], "usage", /maxTokens is -1/],
    [[[1], { topP: 2 }], "usage", /topP is 2/],
    [[[1], { hooks: [["hook_nowhere", () => {}]] }], "usage", /hook_nowhere/],
    [
      [[1], { interventions: [{ op: "add", target: { signal: 99 }, hook: "hook_embed", strength: 1 }] }],
      "usage",
      /99/,
    ],
  ];
  for (const [request, code, message] of wrong) {
    await expectError(async () => all(pool.generate(...request)), code as "usage", message);
  }
  const thrown = new Error("from a hook");
  const failing: Hook = [
    "hook_embed",
    () => {
      throw thrown;
    },
  ];
  await expect(all(pool.generate([1], { hooks: [failing] }))).rejects.toBe(thrown);
  expect(await good).toEqual(await generateDirectly(model, [1, 2], { seed: 1 }));
  expect(pool.stats().active).toBe(0);
  for (const slots of [0, 1.5, Number.NaN])
    await expectError(async () => model.pool({ slots }), "usage", /slots is/);
  await expectError(async () => model.pool({ queue: -1 }), "usage", /queue is -1/);
});

test("each request gets its own tokens in any order of arrivals and departures", async () => {
  const model = await makePoolModel(new ReferenceBackend(), { n_layers: 1, context: 16 });
  // Few distinct ids, so that prompts share prefixes.
  const prompt = fc.array(fc.constantFrom(1, 2), { minLength: 1, maxLength: 15 });
  const request = fc.record({
    prompt,
    maxTokens: fc.integer({ min: 1, max: 8 }),
    /** The number of tokens after which the reader leaves. */
    leaves: fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined }),
    /** The number of event-loop turns between this request and the one before. */
    after: fc.integer({ min: 0, max: 3 }),
    unbatched: fc.boolean(),
  });
  const expected = new Map<string, Promise<GenerateEvent[]>>();
  const run = fc.asyncProperty(
    fc.array(request, { maxLength: 8 }),
    fc.integer({ min: 1, max: 4 }),
    async (requests, slots) => {
      const pool = model.pool({ slots });
      const check = async ({ prompt, maxTokens, leaves, unbatched }: (typeof requests)[number]) => {
        const options = { temperature: 0, maxTokens };
        const key = `${prompt}/${maxTokens}`;
        if (!expected.has(key)) expected.set(key, generateDirectly(model, prompt, options));
        const events: GenerateEvent[] = [];
        for await (const event of pool.generate(prompt, { ...options, cached: !unbatched })) {
          if (events.length === leaves) break;
          events.push(event);
        }
        expect(events).toEqual((await expected.get(key)!).slice(0, leaves));
      };
      const checks: Promise<void>[] = [];
      for (const each of requests) {
        for (let i = 0; i < each.after; i++) await new Promise((resolve) => setTimeout(resolve, 0));
        checks.push(check(each));
      }
      await Promise.all(checks);
      await pool.drain();
      expect(pool.stats()).toMatchObject({ active: 0, queued: 0 });
    },
  );
  await fc.assert(run, { numRuns: 40 });
});

test("a device error fails the running requests and invalidates the cache", async () => {
  const backend = new ReferenceBackend();
  /** The number of calls of the op that still succeed. */
  let left = Infinity;
  const { swiglu } = backend;
  Object.assign(backend, {
    swiglu(...args: Parameters<typeof swiglu>) {
      if (--left < 0) throw new Error("gone");
      swiglu.apply(backend, args);
    },
  });
  const model = await makePoolModel(backend);
  const pool = model.pool({ slots: 2 });
  const options = { temperature: 0, maxTokens: 8 };
  const prompt = randomIds(model.config, 12);
  await all(pool.generate(prompt, options));
  // The second layer of the second prompt fails.
  left = 3;
  const runs = [[1], [2], prompt].map((ids) => all(pool.generate(ids, options)));
  const ends = await Promise.allSettled(runs);
  for (const end of ends.slice(0, 2))
    expect(end).toMatchObject({ status: "rejected", reason: { message: "gone" } });
  left = Infinity;
  const { prefixTokensReused } = pool.stats();
  expect(await all(pool.generate(prompt, options))).toEqual(await generateDirectly(model, prompt, options));
  expect(pool.stats()).toMatchObject({ prefixTokensReused, active: 0, queued: 0 });
});

test("stats counts generated tokens", async () => {
  const model = await makePoolModel(new ReferenceBackend());
  const pool = model.pool({ slots: 2 });
  const events = await all(pool.generate([1, 2, 3], { seed: 1, maxTokens: 6 }));
  const unbatched = await all(pool.generate([4], { seed: 1, maxTokens: 3, cached: false }));
  const tokens = [...events, ...unbatched].filter((event): event is TokenEvent => event.type === "token");
  expect(pool.stats()).toEqual({
    slots: 2,
    queue: 256,
    active: 0,
    queued: 0,
    prefixTokensReused: 0,
    tokens: tokens.length,
  });
  expect(tokens.every(({ id }) => id < tokenizer.vocabSize)).toBe(true);
});
