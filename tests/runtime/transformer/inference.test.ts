import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { type ModelConfig, VARIANTS } from "../../../runtime/config/config.ts";
import { Model } from "../../../runtime/model/model.ts";
import {
  forward,
  type InferenceModel,
  inferenceBytes,
  prefill,
} from "../../../runtime/transformer/inference.ts";
import { RunState } from "../../../runtime/transformer/run-state.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { WASM_BUILDS } from "../../support/wasm-builds.ts";
import {
  makeModel,
  onBackends,
  randomIds,
  randomValues,
  tinyConfig,
  type WeightType,
} from "./inference-support.ts";
import { ORACLE_CASES, readOracle } from "./oracle-suite.ts";

describe("agreement with PyTorch", () => {
  const backends: [string, () => Backend | Promise<Backend>][] = [
    ["reference", () => new ReferenceBackend()],
    ...WASM_BUILDS,
  ];
  for (const [name, make] of backends) {
    test(`${name}: logits and the residual stream, in f32`, async () => {
      const backend = await make();
      for (const caseName of ORACLE_CASES) {
        const oracle = await readOracle(caseName);
        const { config, batch: B, length: T } = oracle;
        const values = new Map(oracle.parameters("param"));
        const model = new Model(await makeModel(backend, config, "f32", values));
        const ids = oracle.tensor("ids") as Int32Array;
        const sequences = Array.from({ length: B }, (_, b) => ids.subarray(b * T, (b + 1) * T));

        const logits = await model.forward(sequences);
        expect(logits.shape).toEqual([B, T, config.vocab_size]);
        assertClose(logits.data, oracle.tensor("logits"), { relative: 1e-4 }, `${caseName} logits`);
        const cache = await model.runWithCache(sequences);
        for (let l = 0; l <= config.n_layers; l++) {
          const hook = l < config.n_layers ? `blocks.${l}.hook_resid_pre` : `blocks.${l - 1}.hook_resid_post`;
          const hidden = cache.get(hook)!;
          expect(hidden.shape).toEqual([B, T, config.d_model]);
          assertClose(
            hidden.data,
            oracle.tensor(`hidden.${l}`),
            { relative: 1e-4 },
            `${caseName} hidden.${l}`,
          );
        }
        assertClose(cache.get("hook_logits")!.data, oracle.tensor("logits"), { relative: 1e-4 }, caseName);

        // Uses only the first sequence without its last id: the targets are the next ids.
        const { loss, tokens } = await model.evaluate(sequences[0]);
        expect(tokens).toBe(T - 1);
        expect(loss).toBeCloseTo(crossEntropy(logits.data, config.vocab_size, [...sequences[0]]), 4);
      }
      backend.dispose();
    });
  }
});

/** Mean −log softmax(logits[t])[ids[t + 1]] */
function crossEntropy(logits: Float32Array, V: number, ids: number[]): number {
  const losses = ids.slice(1).map((target, t) => {
    const row = logits.subarray(t * V, (t + 1) * V);
    const most = row.reduce((a, b) => Math.max(a, b));
    return most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - row[target];
  });
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}

/** Logits (n,V) of a sequence in slot 1 of 2: the first `whole` ids in passes of `rows`, the others one at a time. */
async function logitsInSteps(model: InferenceModel, ids: Int32Array, whole: number, rows: number) {
  const { backend, config } = model;
  const options = { slots: 2, context: ids.length, rows, logitRows: rows };
  const state = new RunState(backend, config, options);
  const parts: number[] = [];
  const first = { ids: ids.subarray(0, whole), slot: 1, logits: whole };
  for await (const { logits } of prefill(model, state, first)) parts.push(...(await backend.read(logits!)));
  for (let t = whole; t < ids.length; t++) {
    const step = { ids: ids.subarray(t, t + 1), start: Int32Array.of(t), slot: 1, logits: 1 };
    parts.push(...(await backend.read((await forward(model, state, step))!)));
  }
  state.free();
  return parts;
}

onBackends((backend) => {
  for (const variant of VARIANTS) {
    test(`${variant}: cached and uncached logits agree for any split of the sequence`, async () => {
      const cut = fc.record({
        length: fc.integer({ min: 1, max: 24 }),
        share: fc.double({ min: 0, max: 1, noNaN: true }),
        rows: fc.integer({ min: 1, max: 24 }),
        seed: fc.nat(1000),
      });
      const types: WeightType[] = ["f32", "f16", "i8"];
      for (const type of types) {
        const config = tinyConfig(variant);
        const model = await makeModel(backend(), config, type);
        await fc.assert(
          fc.asyncProperty(cut, async ({ length, share, rows, seed }) => {
            const ids = randomIds(config, length, seed);
            const { data } = await new Model(model).forward(ids);
            const whole = Math.max(1, Math.round(share * length));
            const stepped = await logitsInSteps(model, ids, whole, rows);
            // Products of int8 rows round activations, so that a difference in the last bit may round to a neighbouring value.
            const relative = type === "i8" ? 1e-2 : 1e-5;
            assertClose(stepped, data, { relative }, `${type} of ${length}, ${whole} in passes of ${rows}`);
          }),
          { numRuns: 4 },
        );
      }
    });
  }

  test("sequences of a batch at different positions are independent", async () => {
    for (const variant of VARIANTS) {
      const config = tinyConfig(variant);
      const model = await makeModel(backend(), config);
      const texts = [5, 1, 9].map((length, i) => randomIds(config, length, i));
      const state = new RunState(backend(), config, { slots: 3, context: 10, rows: 4, logitRows: 3 });
      for (const [slot, ids] of texts.entries()) {
        for await (const _ of prefill(model, state, { ids: ids.subarray(0, -1), slot, logits: 0 }));
      }
      const step = {
        ids: Int32Array.from(texts, (ids) => ids[ids.length - 1]),
        start: Int32Array.from(texts, (ids) => ids.length - 1),
        slot: 0,
        logits: 3,
      };
      const logits = (await backend().read((await forward(model, state, step))!)) as Float32Array;
      const V = config.vocab_size;
      for (const [slot, ids] of texts.entries()) {
        const { data } = await new Model(model).forward(ids);
        assertClose(
          logits.subarray(slot * V, (slot + 1) * V),
          data.subarray(-V),
          { relative: 1e-5 },
          variant,
        );
      }
      state.free();
    }
  });

  test("a forward pass in many steps equals one in a single step", async () => {
    const config = tinyConfig("reflow", { context: 300, n_layers: 1 });
    const model = await makeModel(backend(), config);
    const ids = randomIds(config, 300);
    const cache = await new Model(model).runWithCache(ids, { namesFilter: "hook_logits" });
    const { data } = await new Model(model).forward(ids);
    assertClose(data, cache.get("hook_logits")!.data, { relative: 1e-5 }, "logits");
  });

  test("f16 and int8 weights approximate the f32 logits", async () => {
    for (const variant of VARIANTS) {
      const config = tinyConfig(variant);
      const ids = randomIds(config, 20);
      const { data } = await new Model(await makeModel(backend(), config)).forward(ids);
      for (const [type, relative] of [
        ["f16", 2e-2],
        ["i8", 2e-1],
      ] as const) {
        const rounded = await new Model(await makeModel(backend(), config, type)).forward(ids);
        expect(rounded.data).not.toEqual(data);
        assertClose(rounded.data, data, { relative }, `${variant} ${type}`);
      }
    }
  });

  test("a step of an earlier shape allocates nothing, and a forward pass frees its memory", async () => {
    const config = tinyConfig("reflow-topk");
    const model = await makeModel(backend(), config);
    const before = backend().memory().allocated;
    await logitsInSteps(model, randomIds(config, 12), 3, 3);
    await new Model(model).forward(randomIds(config, 12));
    await new Model(model).runWithCache(randomIds(config, 12));
    await new Model(model).evaluate(randomIds(config, 60));
    expect(backend().memory().allocated).toBe(before);
    const state = new RunState(backend(), config, { slots: 1, context: 12, rows: 4, logitRows: 1 });
    expect(state.frame(1, 1, 0, 1)).toBe(state.frame(1, 1, 0, 1));
    expect(state.frame(1, 2, 0, 1)).not.toBe(state.frame(1, 1, 0, 1));
    state.free();
  });
});

test("inferenceBytes equals the allocated memory", async () => {
  for (const variant of VARIANTS) {
    const config = tinyConfig(variant);
    for (const [weights, type] of [
      ["f32", "f32"],
      ["f16", "f16"],
      ["int8", "i8"],
    ] as const) {
      const backend = new ReferenceBackend();
      await makeModel(backend, config, type);
      const held = backend.memory().allocated;
      const one = new RunState(backend, config, { slots: 1, context: 24, rows: 24, logitRows: 1 });
      const { weights: bytes, cache, activations, total } = inferenceBytes(config, weights);
      expect(bytes).toBe(held);
      expect(cache).toBe(config.n_layers * 2 * 24 * ((config.n_kv_heads * 24) / 4) * 4);
      expect(total).toBe(backend.memory().allocated);
      expect(bytes + cache + activations).toBe(total);
      one.free();
      new RunState(backend, config, { slots: 30, context: 20, rows: 30, logitRows: 30 });
      const many = inferenceBytes(config, weights, { batch: 30, length: 20 });
      expect(many.total).toBe(backend.memory().allocated);
    }
  }
});

test("a run state that does not fit frees its partial allocations", async () => {
  const backend = new ReferenceBackend();
  const alloc = backend.alloc.bind(backend);
  let left = 12;
  backend.alloc = (...args) => {
    if (left-- === 0) throw new Error("full");
    return alloc(...args);
  };
  const options = { slots: 1, context: 24, rows: 24, logitRows: 1 };
  expect(() => new RunState(backend, tinyConfig("reflow"), options)).toThrow("full");
  expect(backend.memory().allocated).toBe(0);
});

describe("reflow-topk", () => {
  test("keeps the k largest positive values of each row, in every dtype", async () => {
    const backend = new ReferenceBackend();
    // More rows than are processed at a time.
    const config = tinyConfig("reflow-topk", { vocab_size: 2500, n_signals: 33, n_layers: 1 });
    const values = randomValues(config);
    for (const type of ["f32", "f16", "i8"] as const) {
      const { weights } = await makeModel(backend, config, type, values);
      const recipe = weights.recipe!;
      expect(recipe.dtype).toBe(type);
      const kept = await backend.read(recipe);
      for (const row of [0, 1, 1023, 1024, 2499]) {
        const dense = [...values.get("recipe")!.subarray(row * 33, (row + 1) * 33)];
        const largest = [...dense.keys()].sort((a, b) => dense[b] - dense[a]).slice(0, config.top_k);
        const present = [...kept.subarray(row * 33, (row + 1) * 33)].flatMap((x, i) => (x !== 0 ? [i] : []));
        expect(present).toEqual(largest.filter((i) => dense[i] > 0).sort((a, b) => a - b));
      }
    }
  });
});

describe("evaluate", () => {
  const config = tinyConfig("reflow", { context: 8 });
  const make = async (c: ModelConfig) => new Model(await makeModel(new ReferenceBackend(), c));

  test("scores each token once in windows of the context", async () => {
    const model = await make(config);
    const ids = [...randomIds(config, 31)];
    for (const stride of [1, 3, 4, 8]) {
      // By definition, token t is predicted from the first window that reaches it.
      let sum = 0;
      for (let t = 1; t < ids.length; t++) {
        const begin = stride * Math.ceil(Math.max(0, t - config.context) / stride);
        const { data } = await model.forward(ids.slice(begin, t));
        sum += crossEntropy(data.subarray(-config.vocab_size), config.vocab_size, [0, ids[t]]);
      }
      const progress: number[] = [];
      const onProgress = (done: number, of: number) => progress.push(done / of);
      const { loss, tokens } = await model.evaluate(ids, { stride, onProgress });
      expect(progress.length).toBe(1 + Math.ceil((30 - config.context) / stride));
      expect(progress.at(-1)).toBe(1);
      expect(tokens).toBe(30);
      expect(loss).toBeCloseTo(sum / 30, 5);
    }
  });

  test("supports a text longer than one pass", async () => {
    const long = tinyConfig("reflow", { context: 140, n_layers: 1 });
    const model = await make(long);
    const ids = randomIds(long, 141);
    const { data } = await model.forward(ids.subarray(0, 140));
    const padded = new Float32Array(data.length + long.vocab_size);
    padded.set(data);
    expect((await model.evaluate(ids)).loss).toBeCloseTo(crossEntropy(padded, long.vocab_size, [...ids]), 5);
  });

  test("rejects texts and strides that cannot be evaluated", async () => {
    const model = await make(config);
    await expectError(() => model.evaluate([1]), "data", /1 tokens cannot be evaluated/);
    await expectError(() => model.evaluate([1, 2], { stride: 9 }), "usage", /stride is 9/);
    await expectError(() => model.evaluate([1, 2], { stride: 0 }), "usage", /stride is 0/);
    await expectError(() => model.evaluate([1, 61]), "data", /token id 61, at position 1/);
  });
});

test("rejects ids that cannot be run", async () => {
  const config = tinyConfig("gpt2");
  const model = new Model(await makeModel(new ReferenceBackend(), config));
  for (const id of [-1, 61, 1.5, Number.NaN]) {
    await expectError(() => model.forward([3, id]), "data", /token id .*, at position 1, is outside/);
  }
  await expectError(() => model.forward([]), "data", /a sequence of 0 ids/);
  await expectError(() => model.forward(new Int32Array(25)), "data", /a sequence of 25 ids/);
  await expectError(() => model.forward([[1, 2], [3]]), "data", /sequences of 2 and 1 ids in one batch/);
});
