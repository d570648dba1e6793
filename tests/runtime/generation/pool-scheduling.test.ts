/** How a pool assigns slots to requests, and how they are freed. */
import { describe, expect, test } from "bun:test";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import type { GenerateOptions } from "../../../runtime/generation/options.ts";
import { Model } from "../../../runtime/model/model.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { makeModel, randomIds, tinyConfig } from "../transformer/inference-support.ts";
import {
  all,
  generateDirectly,
  makePoolModel,
  startRequest,
  waitUntil,
  yieldToEventLoop,
} from "./pool-support.ts";

const LAYERS = 2;
/** The number of prompt chunks that have been read. */
let chunks = 0;

/** For tests of timing, not tokens: without a tokenizer there is no end-of-text token, so that requests run for long. */
const model = createWasmBackend({ threads: 1 }).then(async (backend) => {
  const { attentionCached } = backend;
  backend.attentionCached = (...args: Parameters<typeof attentionCached>) => {
    if (args[5].length > 1) chunks += 1 / LAYERS;
    attentionCached.apply(backend, args);
  };
  return new Model(await makeModel(backend, tinyConfig("reflow", { context: 4096, n_layers: LAYERS })));
});
const LONG: GenerateOptions = { temperature: 5, seed: 1 };
const SHORT: GenerateOptions = { temperature: 0, maxTokens: 2 };

describe("the queue", () => {
  test("accepts a bounded number of requests and rejects further ones at once", async () => {
    const pool = (await model).pool({ slots: 2, queue: 2 });
    const controller = new AbortController();
    const long = { ...LONG, signal: controller.signal };
    await Promise.all([startRequest(pool, [1], long), startRequest(pool, [2], long)]);
    const waiting = [3, 4].map((id) => all(pool.generate([id], SHORT)));
    expect(pool.stats()).toMatchObject({ active: 2, queued: 2 });
    for (const extra of [{}, { cached: false }]) {
      await expectError(() => pool.generate([5], { ...SHORT, ...extra }).next(), "busy", /2 requests/);
    }
    controller.abort();
    await Promise.all(waiting);
    expect((await all(pool.generate([5], SHORT))).length).toBe(3);
    await pool.drain();
  });

  test("counts only requests that wait", async () => {
    const pool = (await model).pool({ slots: 2, queue: 0 });
    const both = [1, 2].map((id) => all(pool.generate([id], SHORT)));
    await expectError(() => pool.generate([3], SHORT).next(), "busy", /the queue is full/);
    await Promise.all(both);
    await pool.drain();
  });

  test("is served in order, for requests in the batch and outside it", async () => {
    const pool = (await model).pool({ slots: 1 });
    const { events } = await startRequest(pool, [1], LONG);
    const order: number[] = [];
    const runs = [0, 1, 2, 3, 4, 5].map(async (i) => {
      await all(pool.generate([i], { ...SHORT, cached: i % 2 === 0 }));
      order.push(i);
    });
    await yieldToEventLoop();
    expect(pool.stats()).toMatchObject({ active: 1, queued: 6 });
    await events.return();
    await Promise.all(runs);
    expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    await pool.drain();
  });
});

describe("cancelling", () => {
  /** The two ways to cancel a request. */
  const ways = ["signal", "return"] as const;
  const reason = new Error("gone");

  for (const way of ways) {
    for (const cached of [true, false]) {
      const where = cached ? "in the batch" : "outside the batch";
      test(`by ${way} ${where}, between tokens, frees the slot at the next token`, async () => {
        const pool = (await model).pool({ slots: 1 });
        const controller = new AbortController();
        const { events } = await startRequest(pool, [1], { ...LONG, cached, signal: controller.signal });
        const others = all(pool.generate([2], SHORT));
        const { tokens } = pool.stats();
        if (way === "return") expect(await events.return()).toEqual({ done: true, value: undefined });
        else {
          controller.abort(reason);
          await expect(events.next()).rejects.toBe(reason);
        }
        expect(await events.next()).toEqual({ done: true, value: undefined });
        await others;
        // The tokens of the other request, and at most one more.
        expect(pool.stats().tokens).toBeLessThanOrEqual(tokens + 3);
        await pool.drain();
      });

      test(`by ${way} ${where}, while waiting in the queue for the first event`, async () => {
        const pool = (await model).pool({ slots: 1 });
        const first = await startRequest(pool, [1], LONG);
        const controller = new AbortController();
        const waiting = pool.generate([2], { ...SHORT, cached, signal: controller.signal });
        const event = waiting.next();
        await yieldToEventLoop();
        expect(pool.stats().queued).toBe(1);
        if (way === "return") {
          await waiting.return();
          expect(await event).toEqual({ done: true, value: undefined });
        } else {
          controller.abort(reason);
          await expect(event).rejects.toBe(reason);
        }
        expect(pool.stats()).toMatchObject({ active: 1, queued: 0 });
        await first.events.return();
        await pool.drain();
      });

      test(`by ${way} ${where}, while the prompt is being read`, async () => {
        const pool = (await model).pool({ slots: 2 });
        // Another stream runs, so that the prompt is read in small chunks.
        const first = await startRequest(pool, [1], LONG);
        const controller = new AbortController();
        const prompt = randomIds((await model).config, 4000);
        const reading = pool.generate(prompt, { ...LONG, cached, signal: controller.signal });
        const event = reading.next();
        const before = chunks;
        await waitUntil(() => chunks >= before + 2);
        const read = chunks;
        if (way === "return") {
          await reading.return();
          expect(await event).toEqual({ done: true, value: undefined });
        } else {
          controller.abort(reason);
          await expect(event).rejects.toBe(reason);
        }
        await waitUntil(() => pool.stats().active === 1);
        expect(chunks - read).toBeLessThanOrEqual(1);
        await first.events.return();
        await pool.drain();
      });
    }
  }

  test("before the first event runs nothing", async () => {
    const pool = (await model).pool({ slots: 1 });
    const events = pool.generate([1], LONG);
    await events.return();
    expect(await events.next()).toEqual({ done: true, value: undefined });
    const aborted = pool.generate([1], { signal: AbortSignal.abort(reason) });
    await expect(aborted.next()).rejects.toBe(reason);
    expect(pool.stats()).toMatchObject({ active: 0, queued: 0, tokens: 0 });
    await pool.drain();
  });

  test("leaves no listener on the signal", async () => {
    const pool = (await model).pool({ slots: 2, queue: 2 });
    const { signal } = new AbortController();
    let listeners = 0;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await Promise.all([1, 2, 3].map((id) => all(pool.generate([id], { ...SHORT, signal, cached: id > 1 }))));
    await (await startRequest(pool, [1], { ...LONG, signal })).events.return();
    expect(listeners).toBe(0);
    await pool.drain();
  });
});

describe("fairness", () => {
  test("a slow or idle reader does not delay other requests", async () => {
    const pool = (await model).pool({ slots: 2 });
    const idle = await startRequest(pool, [1], { ...LONG, maxTokens: 50 });
    expect(await all(pool.generate([2], { ...LONG, maxTokens: 200 }))).toEqual(
      await generateDirectly(await model, [2], { ...LONG, maxTokens: 200 }),
    );
    // The idle request has ended meanwhile, and all its events are available.
    expect(pool.stats().active).toBe(0);
    const rest = await all(idle.events);
    expect([idle.first.value, ...rest]).toEqual(
      await generateDirectly(await model, [1], { ...LONG, maxTokens: 50 }),
    );
    await pool.drain();
  });

  test("other requests continue while a long prompt is read", async () => {
    const pool = (await model).pool({ slots: 3 });
    const { events } = await startRequest(pool, [1], LONG);
    const prompt = randomIds((await model).config, 2000);
    const before = pool.stats().tokens;
    await startRequest(pool, prompt, LONG).then((late) => late.events.return());
    // The prompt is read 16 rows at a time.
    expect(pool.stats().tokens - before).toBeGreaterThan(100);
    await events.return();
    await pool.drain();
  });

  test("requests in the batch and outside it alternate", async () => {
    const pool = (await model).pool({ slots: 2 });
    const counts = [0, 0];
    const run = async (i: number) => {
      for await (const event of pool.generate([i + 1], {
        ...LONG,
        maxTokens: 1500,
        cached: true,
        hooks: i ? [] : undefined,
      })) {
        if (event.type === "finish") return;
        counts[i]++;
        // Time slices are at most ten milliseconds, so that neither request is ever half of its tokens ahead.
        expect(Math.abs(counts[0] - counts[1])).toBeLessThan(750);
      }
    };
    await Promise.all([run(0), run(1)]);
    expect(counts).toEqual([1500, 1500]);
    await pool.drain();
  });

  test("timers fire while the pool runs", async () => {
    const pool = (await model).pool({ slots: 4 });
    let done = false;
    const runs = [1, 2, 3, 4].map((id) => all(pool.generate([id], { ...LONG, maxTokens: 400 })));
    const end = Promise.all(runs).then(() => {
      done = true;
    });
    let fired = 0;
    for (; !done; fired++) await new Promise((resolve) => setTimeout(resolve, 1));
    await end;
    // The pool yields every ten milliseconds and runs for more than a hundred.
    expect(fired).toBeGreaterThan(3);
    await pool.drain();
  });
});

describe("exclusive", () => {
  test("an exclusive request that is cancelled while it waits lets later requests in", async () => {
    const pool = (await model).pool({ slots: 2 });
    const { events } = await startRequest(pool, [1], LONG);
    const cancelled = new AbortController();
    const given = pool.exclusive(async () => 7, cancelled.signal);
    const later = all(pool.generate([2], SHORT));
    cancelled.abort(new Error("left"));
    await expect(given).rejects.toThrow("left");
    await later;
    expect(pool.stats().active).toBe(1);
    await events.return();
    await expect(pool.exclusive(async () => 7, cancelled.signal)).rejects.toThrow("left");
    expect(await pool.exclusive(async () => 7, new AbortController().signal)).toBe(7);
    await pool.drain();
  });

  test("runs alone: it waits for running requests, and later requests wait for it", async () => {
    const pool = (await model).pool({ slots: 2 });
    const { events } = await startRequest(pool, [1], LONG);
    let inside = false;
    let leave = () => {};
    const held = pool.exclusive(async () => {
      inside = true;
      expect(pool.stats().active % 2).toBe(0); // no slot, or all of them
      await new Promise<void>((resolve) => {
        leave = resolve;
      });
      inside = false;
      return 7;
    });
    let served = 0;
    const later = [true, false].map(async (cached) => {
      await all(pool.generate([2], { ...SHORT, cached }));
      expect(inside).toBe(false);
      served++;
    });
    await yieldToEventLoop();
    expect(inside).toBe(false);
    await events.return();
    await waitUntil(() => inside);
    await yieldToEventLoop();
    expect([served, pool.stats().queued]).toEqual([0, 2]);
    leave();
    expect(await held).toBe(7);
    await Promise.all(later);
    await pool.drain();
  });

  test("passes on the error of its function, and the pool continues", async () => {
    const pool = (await model).pool({ slots: 1 });
    const reason = new Error("broken");
    await expect(pool.exclusive(() => Promise.reject(reason))).rejects.toBe(reason);
    // In order of arrival: each sees the tokens generated before it.
    const tokens = async () => pool.stats().tokens;
    const [first, , second] = await Promise.all([
      pool.exclusive(tokens),
      all(pool.generate([1], SHORT)),
      pool.exclusive(tokens),
    ]);
    expect([first, second]).toEqual([0, 2]);
    await pool.drain();
  });
});

describe("drain", () => {
  test("waits for accepted requests, rejects new ones and frees the memory", async () => {
    const backend = new ReferenceBackend();
    const model = await makePoolModel(backend);
    const before = backend.memory().allocated;
    const pool = model.pool({ slots: 1 });
    const runs = [1, 2].map((id) => all(pool.generate([id], SHORT)));
    await yieldToEventLoop(1);
    const drained = pool.drain();
    await expectError(() => pool.generate([3], SHORT).next(), "busy", /shutting down/);
    await drained;
    expect((await Promise.all(runs)).map(({ length }) => length)).toEqual([3, 3]);
    expect(backend.memory().allocated).toBe(before);
    await pool.drain();
  });
});
