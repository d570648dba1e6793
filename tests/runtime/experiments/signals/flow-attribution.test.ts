import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { ExperimentContext } from "../../../../runtime/experiments/framework/experiment.ts";
import type { Bars, Heatmap, Lines } from "../../../../runtime/experiments/framework/figure.ts";
import { randomOrthogonal } from "../../../../runtime/experiments/framework/null-draws.ts";
import { textWindows } from "../../../../runtime/experiments/passes/forward-passes.ts";
import { errorOf, flow, shareOf, termsOf } from "../../../../runtime/experiments/signals/flow-attribution.ts";
import { matrix, multiply, rowOf } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { claimOf, contextWith, recipesOf, scaledIdentity } from "../planted-model.ts";
import { toyText } from "../toy-model.ts";

let backend: Backend;
/** Hundreds of rotations take a busy machine longer than the default five seconds. */
const TIMEOUT = { timeout: 60_000 };

beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

describe("terms of a logit", () => {
  test("terms are products in float64", () => {
    const terms = termsOf(Float32Array.of(1, -2, 0.5), Float32Array.of(3, 2, 4));
    expect(terms).toEqual(Float64Array.of(3, -4, 2));
    // In float32 the product would be 1 + 2^-22.
    const x = 1 + 2 ** -23;
    expect(termsOf(Float32Array.of(x), Float32Array.of(x))[0]).toBe(1 + 2 ** -22 + 2 ** -46);
  });

  test("the share of the strongest terms uses absolute values", () => {
    const terms = [3, -4, 1, 2];
    expect(shareOf(terms, 1)).toBeCloseTo(0.4, 12);
    expect(shareOf(terms, 2)).toBeCloseTo(0.7, 12);
    expect(shareOf(terms, 4)).toBe(1);
    expect(shareOf(terms, 8)).toBe(1);
    expect(shareOf([0, 0], 1)).toBe(1);
  });

  test("the error is relative to the sum of absolute values, since terms may cancel", () => {
    expect(errorOf([3, -2], 1.5, [3, -2])).toBeCloseTo(0.1, 12);
    expect(errorOf([3, -2], 1, [3, -2])).toBe(0);
  });
});

/** Mean share of the strongest eight signals over distinct next tokens, computed from the model's tables and activations alone. */
async function byHand(context: ExperimentContext): Promise<number> {
  const { model } = context.model;
  const { recipe } = await model.tables();
  const S = recipe.shape[1];
  const shares = new Map<number, number>();
  for (const ids of textWindows(context, { count: 24, length: 17 }, context.random("windows"))) {
    const cache = await model.runWithCache(ids.subarray(0, 16), { namesFilter: "hook_signals" });
    const z = cache.get("hook_signals")!.data;
    for (let t = 0; t < 16; t++) {
      if (shares.has(ids[t + 1])) continue;
      const sizes = Array.from({ length: S }, (_, s) =>
        Math.abs(recipe.data[ids[t + 1] * S + s] * z[t * S + s]),
      ).sort((a, b) => b - a);
      const sum = (some: number[]) => some.reduce((a, b) => a + b, 0);
      shares.set(ids[t + 1], sum(sizes.slice(0, 8)) / sum(sizes));
    }
  }
  return [...shares.values()].reduce((a, b) => a + b, 0) / shares.size;
}

test("the figures agree with the model's tables and activations, and add up to its logits", async () => {
  const context = await contextWith(backend, { config: { n_layers: 2 } });
  const { claims, figures, parameters } = await flow.run(context);
  expect(claims[0].effect).toBeCloseTo(await byHand(context), 5);
  for (const error of [parameters.errorBySignal, parameters.errorByWriter]) expect(error).toBeLessThan(1e-5);
  const [cells] = figures.filter(({ type }) => type === "heatmap") as Heatmap[];
  const all = cells.values.flat().reduce((sum: number, x) => sum + x!, 0);
  expect(cells.caption).toContain(`the logit, ${all.toFixed(2)}.`);
  expect(cells.rows).toEqual(["embed", "blocks.0.attn", "blocks.0.mlp", "blocks.1.attn", "blocks.1.mlp"]);
  const [{ series }] = figures.filter(({ type }) => type === "lines") as Lines[];
  expect(series[0].x).toEqual([1, 2, 4, 8, 16, 32]);
  expect(series[0].y[3]).toBeCloseTo(claims[0].effect, 12);
  for (const { y } of series) expect(y[5]).toBeCloseTo(1, 12);
});

test("at most one of 20 models at initialisation has logits that rest on few signals", TIMEOUT, async () => {
  let held = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const context = await contextWith(backend, { seed, text: toyText(200, seed) });
    const {
      holds,
      effect,
      null: nothing,
    } = await claimOf(flow, {
      ...context,
      draws: { cheap: 440, forward: 440 },
    });
    if (holds) held++;
    expect(Math.abs(effect - nothing.mean)).toBeLessThan(5 * nothing.sd);
  }
  expect(held).toBeLessThanOrEqual(1);
});

describe("recipes of few signals", () => {
  const few = recipesOf(0.02, () => {});
  const random = new Random("few");
  for (let i = 0; i < few.data.length; i++) few.data[i] *= random.uniform() < 0.1 ? 3 : 0.2;

  test("are found, and a rotation that preserves every logit hides them", TIMEOUT, async () => {
    const plain = await contextWith(backend, {
      values: { recipe: few.data, basis: scaledIdentity(32, 1) },
    });
    const found = await claimOf(flow, plain);
    expect(found.holds).toBe(true);
    expect(found.effect).toBeGreaterThan(found.null.mean + 0.1);

    const { model } = plain.model;
    const Q = randomOrthogonal(32, new Random("hide"));
    const recipe = (await multiply(model, few, Q)).data;
    const basis = matrix(32, 32);
    for (let i = 0; i < 32; i++) for (let j = 0; j < 32; j++) rowOf(basis, i)[j] = rowOf(Q, j)[i];
    const rotated = await contextWith(backend, { values: { recipe, basis: basis.data } });
    const ids = plain.text.slice(0, 16);
    const [a, b] = [await model.forward(ids), await rotated.model.model.forward(ids)];
    const [off, size] = [Math.hypot(...a.data.map((x, i) => x - b.data[i])), Math.hypot(...a.data)];
    expect(off / size).toBeLessThan(1e-5);
    const hidden = await claimOf(flow, rotated);
    expect(hidden.holds).toBe(false);
    expect(Math.abs(hidden.effect - hidden.null.mean)).toBeLessThan(5 * hidden.null.sd);
    // Both have the same null and the same writers.
    expect(Math.abs(hidden.null.mean - found.null.mean)).toBeLessThan(4 * found.null.sd);
    const writers = async (context: ExperimentContext) =>
      ((await flow.run(context)).figures.find(({ type }) => type === "bars") as Bars).bars;
    for (const [i, { value }] of (await writers(rotated)).entries())
      expect(value).toBeCloseTo((await writers(plain))[i].value, 4);
  });
});

test("a top-k yields figures without a claim; an unfactored model has no signals; a short text yields a note", async () => {
  const topk = await contextWith(backend, { config: { variant: "reflow-topk", top_k: 4 } });
  const shown = await flow.run(topk);
  expect(shown.claims).toEqual([]);
  expect(shown.figures.length).toBe(6);
  expect(shown.parameters.errorBySignal).toBeLessThan(1e-5);
  expect(shown.notes.join()).toContain("nothing is claimed");
  const twin = await contextWith(backend, { config: { variant: "gpt2-new", n_signals: undefined } });
  expect(flow.inapplicable?.(twin)).toContain("no signals");
  expect(flow.inapplicable?.(topk)).toBeUndefined();
  const short = await flow.run(await contextWith(backend, { text: new Int32Array(5) }));
  expect(short.claims).toEqual([]);
  expect(short.notes[0]).toContain("nothing is claimed");
});
