import { describe, expect, test } from "bun:test";
import type { Explanation, SignalShare } from "../../../runtime/analysis/explain.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { type PartialConfig, resolveConfig, VARIANTS } from "../../../runtime/config/config.ts";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { Model } from "../../../runtime/model/model.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { dot, SEA, setUp, THE } from "../interventions/support.ts";
import { CHECKPOINT } from "../patches/support.ts";
import { makeModel, randomIds } from "../transformer/inference-support.ts";

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

describe("attribution computed by hand", () => {
  /** A model of two signals, two dimensions and one block whose attention adds the first dimension to the second. */
  async function tiny(overrides: PartialConfig, given: Record<string, number[]>) {
    const config = resolveConfig({
      variant: "reflow",
      vocab_size: 3,
      n_signals: 2,
      d_model: 2,
      n_layers: 1,
      n_heads: 1,
      d_ff: 2,
      context: 4,
      ...overrides,
    });
    const all: Record<string, number[]> = {
      "blocks.0.attn_norm.weight": [1, 1],
      "blocks.0.mlp_norm.weight": [1, 1],
      "blocks.0.attn.v.weight": [1, 0, 0, 1],
      "blocks.0.attn.o.weight": [0, 0, 1, 0],
      ...given,
    };
    const values = new Map(
      parameterSpecs(config).map(({ name, shape }) => {
        const zeros = Array(shape.reduce((a, b) => a * b, 1)).fill(0);
        return [name, Float32Array.from(all[name] ?? zeros)];
      }),
    );
    return new Model(await makeModel(new ReferenceBackend(), config, "f32", values));
  }
  const close = (actual: number, expected: number) => expect(actual).toBeCloseTo(expected, 5);

  test("reflow: contributions of signals and writers", async () => {
    const model = await tiny(
      {},
      { recipe: [1, 2, 3, -1, 0, 0], basis: [1, 0, 1, 1], "final_norm.weight": [2, 1] },
    );
    // Token 0 is 1·[1,0] + 2·[1,1] = [3,2]. A norm divides it by its root mean square, and attention, which sees only
    // this position, adds its first component to the second: x = [3, 2 + a].
    const a = 3 / Math.sqrt(6.5 + 1e-5);
    const rstd = 1 / Math.sqrt((9 + (2 + a) ** 2) / 2 + 1e-5);
    // Normalised, [6, 2 + a]·rstd; by the rows of B, z = [6, 8 + a]·rstd; the recipe of token 1 is [3, −1].
    const found = await model.explain([0], { target: 1 });
    expect(found).toMatchObject({
      position: 0,
      target: { id: 1, text: "" },
      unit: "signal",
      rest: { count: 0 },
    });
    close(found.logit, (10 - a) * rstd);
    close(found.sum, (10 - a) * rstd);
    close(found.magnitude, (26 + a) * rstd);
    expect(found.signals.map(({ signal }) => signal)).toEqual([0, 1]);
    const [first, second] = found.signals;
    close(first.contribution, 18 * rstd);
    close(second.contribution, -(8 + a) * rstd);
    expect([first.recipe, second.recipe]).toEqual([3, -1]);
    close(first.value, 6 * rstd);
    expect(found.writers.map(({ name }) => name)).toEqual(["embed", "blocks.0.attn", "blocks.0.mlp"]);
    for (const [i, x] of [10, -a, 0].entries()) close(found.writers[i].contribution, x * rstd);
    for (const [i, x] of [18, 0, 0].entries()) close(first.writers[i], x * rstd);
    for (const [i, x] of [-8, -a, 0].entries()) close(second.writers[i], x * rstd);
    const logits = [(22 + 2 * a) * rstd, (10 - a) * rstd, 0];
    close(found.logprob, logits[1] - Math.log(sum(logits.map(Math.exp))));
    expect(first.codebook).toEqual({
      most: [1, 0, 2].map((id) => ({ id, text: "", weight: [1, 3, 0][id] })),
      least: [2, 0, 1].map((id) => ({ id, text: "", weight: [1, 3, 0][id] })),
    });
    expect((await model.explain([0])).target.id).toBe(0);
  });

  test("interventions are a writer that contributes the amounts they add to the stream", async () => {
    const model = await tiny(
      {},
      { recipe: [1, 2, 3, -1, 0, 0], basis: [1, 0, 1, 1], "final_norm.weight": [2, 1] },
    );
    const a = 3 / Math.sqrt(6.5 + 1e-5);
    // As above, with [0,2] added at the end: x = [3, 4 + a].
    const rstd = 1 / Math.sqrt((9 + (4 + a) ** 2) / 2 + 1e-5);
    const end = { target: { vector: [0, 2] }, hook: "blocks.0.hook_resid_post" };
    const added = await model.explain([0], {
      target: 1,
      interventions: [{ op: "add", ...end, strength: 1 }],
    });
    // Token 1 is 3·[1,0] − [1,1] = [2,−1].
    close(added.logit, (2 * 6 - 4 - a) * rstd);
    expect(added.writers.map(({ name }) => name)).toEqual([
      "embed",
      "blocks.0.attn",
      "blocks.0.mlp",
      "interventions",
    ]);
    for (const [i, x] of [10, -a, 0, -2].entries()) close(added.writers[i].contribution, x * rstd);
    // z = [6, 10 + a]·rstd, of which the second is set to 1.
    const both = await model.explain([0], {
      target: 1,
      interventions: [
        { op: "add", ...end, strength: 1 },
        { op: "set", target: { signal: 1 }, hook: "hook_signals", value: 1 },
      ],
    });
    close(both.logit, 18 * rstd - 1);
    close(both.writers[3].contribution, (-2 + 10 + a) * rstd - 1);
    const second = both.signals.find(({ signal }) => signal === 1)!;
    close(second.value, 1);
    for (const [i, x] of [-8 * rstd, -a * rstd, 0, (8 + a) * rstd - 1].entries()) close(second.writers[i], x);
  });

  test("gpt2: positions and the norm's bias are writers, and means are subtracted", async () => {
    const model = await tiny(
      { variant: "gpt2", n_signals: undefined },
      {
        embedding: [3, 2, 5, 1, 0, 0],
        position: [1, 5, 0, 0, 0, 0, 0, 0],
        "blocks.0.attn.v.weight": [0, 0, 0, 0],
        "final_norm.weight": [2, 1],
        "final_norm.bias": [0.5, 0.25],
      },
    );
    // x = [3,2] + [1,5] = [4,7], minus its mean [−1.5, 1.5]: the embedding contributes [.5, −.5], the position [−2, 2].
    const rstd = 1 / Math.sqrt(2.25 + 1e-5);
    const found = await model.explain([0], { target: 1, top: 1 });
    // The readout of token 1 is [5·2, 1·1] = [10, 1] times that, plus the bias.
    expect(found.unit).toBe("dimension");
    expect(found.writers.map(({ name }) => name)).toEqual([
      "embed",
      "position",
      "blocks.0.attn",
      "blocks.0.mlp",
      "final_norm.bias",
    ]);
    const expected = [4.5 * rstd, -18 * rstd, 0, 0, 2.75];
    for (const [i, x] of expected.entries()) close(found.writers[i].contribution, x);
    close(found.logit, sum(expected));
    expect(found.signals.map(({ signal }) => signal)).toEqual([0]);
    close(found.signals[0].contribution, -15 * rstd + 2.5);
    expect(found.rest.count).toBe(1);
    close(found.rest.contribution, 1.5 * rstd + 0.25);
  });
});

describe("attribution in a random model", () => {
  const ids = (length: number) => [
    ...randomIds(
      resolveConfig({ d_model: 24, n_heads: 4, n_layers: 2, context: 24, vocab_size: 290 }),
      length,
    ),
  ];

  function expectExact(found: Explanation, all: readonly SignalShare[]) {
    const within = 1e-5 * found.magnitude;
    expect(Math.abs(found.sum - found.logit)).toBeLessThan(within);
    expect(Math.abs(sum(all.map(({ contribution }) => contribution)) - found.logit)).toBeLessThan(within);
    expect(Math.abs(sum(found.writers.map((each) => each.contribution)) - found.logit)).toBeLessThan(within);
    for (const [w, { contribution }] of found.writers.entries()) {
      expect(sum(all.map(({ writers }) => writers[w]))).toBeCloseTo(contribution, 9);
    }
    for (const { writers, contribution, recipe, value } of all) {
      expect(contribution).toBe(recipe * value);
      expect(Math.abs(sum(writers) - contribution)).toBeLessThan(within);
    }
  }

  for (const variant of VARIANTS) {
    test(`${variant}: contributions of signals and of writers add up to the logit`, async () => {
      const { model, config } = await setUp(variant);
      const sequence = ids(7);
      const { data } = await model.forward(sequence);
      for (const position of [0, 3, 6]) {
        const logits = data.subarray(position * config.vocab_size, position * config.vocab_size + 290);
        const found = await model.explain(sequence, { position, target: SEA, top: 1000 });
        expect(found.logit).toBeCloseTo(logits[SEA], 5);
        expect(found.signals.length).toBe(config.n_signals ?? config.d_model);
        expectExact(found, found.signals);
        const likeliest = await model.explain(sequence, { position });
        expect(likeliest.target).toEqual({
          id: logits.indexOf(Math.max(...logits)),
          text: tinyTokenizer.tokenText(likeliest.target.id),
        });
      }
    });
  }

  for (const variant of VARIANTS) {
    test(`${variant}: contributions add up to the logit with interventions at every supported hook`, async () => {
      const { model, config } = await setUp(variant);
      const sequence = ids(7);
      const target = { token: " sea" };
      const inBlocks = ["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"].map(
        (name): Intervention => ({
          op: "add",
          target,
          hook: `hook_${name}`,
          layers: [0, 1],
          strength: 0.3,
          unit: "residNorm",
        }),
      );
      const elsewhere = ["hook_embed", "ln_final.hook_normalized"];
      if (config.n_signals) elsewhere.push("hook_recipe", "hook_signals");
      const interventions = [
        ...inBlocks,
        ...elsewhere.map((hook): Intervention => ({ op: "scale", target, hook, factor: -2 })),
      ];
      const plain = await model.explain(sequence, { target: SEA, top: 1000 });
      for (const some of [...interventions.map((each) => [each]), interventions]) {
        const { data } = await model.runWithHooks(sequence, { interventions: some });
        const found = await model.explain(sequence, { target: SEA, top: 1000, interventions: some });
        expect(found.logit).toBeCloseTo(data[6 * config.vocab_size + SEA], 4);
        expect(found.logit).not.toBeCloseTo(plain.logit, 3);
        expect(found.writers.at(-1)!.name).toBe("interventions");
        expectExact(found, found.signals);
      }
      const idle = [{ ...inBlocks[0], strength: 0 } as Intervention];
      expect(await model.explain(sequence, { target: SEA, top: 1000, interventions: idle })).toEqual(plain);
    });
  }

  test("contributions add up on WASM for a text longer than one pass; with int8 the difference is the rounding of the readout", async () => {
    const { config, values } = await setUp("reflow", { context: 200 });
    const backend = await createWasmBackend({ threads: 1 });
    const explain = async (type: "f32" | "i8") =>
      new Model(await makeModel(backend, config, type, values), tinyTokenizer).explain(ids(140), {
        top: 1000,
      });
    const found = await explain("f32");
    expect(found.position).toBe(139);
    expectExact(found, found.signals);
    const rounded = await explain("i8");
    const error = Math.abs(rounded.sum - rounded.logit) / rounded.magnitude;
    expect(error).toBeGreaterThan(1e-5);
    expect(error).toBeLessThan(0.01);
    expect(sum(rounded.writers.map((each) => each.contribution))).toBeCloseTo(rounded.sum, 3);
    backend.dispose();
  });

  test("signals are sorted by magnitude with their codebooks, and the rest is summed", async () => {
    const { model, row } = await setUp();
    const all = await model.explain(ids(5), { target: " the", top: 1000 });
    const found = await model.explain(ids(5), { target: THE, top: 3 });
    const sizes = all.signals.map(({ contribution }) => Math.abs(contribution));
    expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
    expect(found.signals).toEqual(all.signals.slice(0, 3));
    expect(found.rest.count).toBe(17);
    expect(found.rest.contribution).toBeCloseTo(found.sum - sum(found.signals.map((s) => s.contribution)), 9);
    expect(JSON.parse(JSON.stringify(found))).toEqual(found);
    for (const { signal, codebook } of found.signals) {
      const column = Array.from({ length: tinyTokenizer.vocabSize }, (_, id) => row("recipe", id)[signal]);
      const order = column.map((_, id) => id).sort((a, b) => column[b] - column[a]);
      expect(codebook.most.map(({ id }) => id)).toEqual(order.slice(0, 5));
      expect(codebook.least.map(({ id }) => id)).toEqual(order.toReversed().slice(0, 5));
      expect(codebook.most[0]).toMatchObject({
        weight: column[order[0]],
        text: tinyTokenizer.tokenText(order[0]),
      });
    }
    expect((await model.explain(ids(5), { top: 0 })).signals).toEqual([]);
  });

  test("a patch is applied before the attribution", async () => {
    const { inner, row } = await setUp();
    const model = new Model({ ...inner, checkpoint: CHECKPOINT }, tinyTokenizer);
    const edits = [{ token: SEA, signal: 4, delta: 3 }];
    const options = { target: SEA, top: 1000, patch: { model: CHECKPOINT, edits } };
    const found = await model.explain([THE, SEA, THE], options);
    expectExact(found, found.signals);
    const fourth = found.signals.find(({ signal }) => signal === 4)!;
    expect(fourth.recipe).toBe(Math.fround(row("recipe", SEA)[4] + 3));
    expect(fourth.codebook.most[0]).toMatchObject({ id: SEA, weight: fourth.recipe });
    const z = (await model.runWithCache([THE, SEA, THE], { ...options, namesFilter: "hook_signals" })).get(
      "hook_signals",
    )!;
    const expected = dot(z.data.subarray(2 * 20), [
      ...row("recipe", SEA).map((x, s) => x + (s === 4 ? 3 : 0)),
    ]);
    expect(found.sum).toBeCloseTo(expected, 4);
  });
});

describe("explain rejects", async () => {
  const { model, config } = await setUp();
  const WRONG: [name: string, args: Parameters<Model["explain"]>, code: "usage" | "data", message: RegExp][] =
    [
      ["no ids", [[]], "data", /^a sequence of 0 ids$/],
      ["more ids than the context", [Array(config.context + 1).fill(1)], "data", /^a sequence of 25 ids$/],
      ["an id outside the vocabulary", [[1, 300]], "data", /^token id 300, at position 1/],
      [
        "a position out of range",
        [[1, 2], { position: 2 }],
        "usage",
        /^position is 2: expected one of the sequence's$/,
      ],
      ["a fractional position", [[1, 2], { position: 0.5 }], "usage", /^position is 0\.5/],
      ["padding as target", [[1], { target: 290 }], "usage", /^target is 290: expected one of 290 tokens$/],
      ["NaN as target", [[1], { target: Number.NaN }], "usage", /^target is NaN/],
      ["a target of several tokens", [[1], { target: " people" }], "usage", /^target: " people" is 2 tokens/],
      ["a negative number of signals", [[1], { top: -1 }], "usage", /^top is -1/],
      [
        "an intervention on logits",
        [[1], { interventions: [{ op: "set", target: { token: " sea" }, hook: "hook_logits", value: 1 }] }],
        "usage",
        /^interventions on logits cannot be attributed to signals$/,
      ],
      [
        "a patch for another model",
        [[1], { patch: { model: CHECKPOINT, edits: [] } }],
        "usage",
        /has no known identity/,
      ],
    ];
  for (const [name, args, code, message] of WRONG) {
    test(name, async () => {
      await expectError(() => model.explain(...args), code, message);
    });
  }
});
