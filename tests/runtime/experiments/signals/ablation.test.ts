import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { ExperimentContext } from "../../../../runtime/experiments/framework/experiment.ts";
import type { Table } from "../../../../runtime/experiments/framework/figure.ts";
import { randomOrthogonal } from "../../../../runtime/experiments/framework/null-draws.ts";
import { crossEntropy } from "../../../../runtime/experiments/passes/predictions.ts";
import { ablation, signalsToTry } from "../../../../runtime/experiments/signals/ablation.ts";
import {
  ablateByForwardPasses,
  type Fact,
  identity,
} from "../../../../runtime/experiments/signals/ablation-effects.ts";
import {
  replaceAlong,
  type Strongest,
  strongest,
} from "../../../../runtime/experiments/signals/replacement.ts";
import type { Intervention } from "../../../../runtime/interventions/spec.ts";
import type { Matrix } from "../../../../runtime/math/matrix.ts";
import { matrix, multiply, rowOf } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { claimOf, contextWith, recipesOf, scaledIdentity } from "../planted-model.ts";
import { toyText, V } from "../toy-model.ts";

let backend: Backend;
let context: ExperimentContext;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  context = await contextWith(backend);
});
afterAll(() => backend.dispose());

const gaussian = (rows: number, columns: number, random: Random, deviation = 1): Matrix =>
  matrix(
    rows,
    columns,
    Float32Array.from({ length: rows * columns }, () => deviation * random.normal()),
  );

test("replaceAlong: (3,4) with r = (1,1) along (0.6,0.8)", () => {
  const x = Float32Array.of(3, 4);
  replaceAlong(x, Float32Array.of(0.6, 0.8), Float32Array.of(1, 1));
  // c = 2·0.6 + 3·0.8 = 3.6
  expect(x[0]).toBeCloseTo(3 - 2.16, 6);
  expect(x[1]).toBeCloseTo(4 - 2.88, 6);
});

describe("strongest", () => {
  test("a worked case: two tokens, two signals", async () => {
    // z = (2,1), R = (1,0),(0,1): logits (2,1). Without the first signal they are (0,1), without the second (2,0).
    const predictions = {
      signals: matrix(1, 2, Float32Array.of(2, 1)),
      recipes: matrix(2, 2, Float32Array.of(1, 0, 0, 1)),
      targets: [0],
    };
    const search = await strongest(context.model, predictions, matrix(1, 2));
    const [{ direction, before, after, loss }] = await search(identity(2));
    expect(direction).toBe(0);
    expect([...before]).toEqual([2, 1]);
    expect([...after]).toEqual([0, 1]);
    expect(loss).toBeCloseTo(Math.log(1 + Math.E) - Math.log(1 + Math.exp(-1)), 5);
    // Replacing the first signal by its mean of 2 costs nothing; replacing the second by −3 favours the target.
    const kept = await strongest(context.model, predictions, matrix(1, 2, Float32Array.of(2, -3)));
    expect((await kept(identity(2)))[0]).toMatchObject({ direction: 0, loss: 0 });
  });

  test("finds the same directions as an exhaustive search, with exact effects", async () => {
    const random = new Random("strongest");
    const [P, S, n] = [12, 8, 40];
    const predictions = {
      signals: gaussian(P, S, random),
      recipes: gaussian(n, S, random, 0.4),
      targets: Array.from({ length: P }, (_, p) => p),
    };
    const replacements = gaussian(P, S, random, 0.3);
    const directions = randomOrthogonal(S, random);
    const found = await (await strongest(context.model, predictions, replacements))(directions);
    let agree = 0;
    for (const [p, { direction, loss }] of found.entries()) {
      const logitsOf = (z: Float32Array) =>
        Float32Array.from({ length: n }, (_, v) =>
          rowOf(predictions.recipes, v).reduce((sum, r, s) => sum + r * z[s], 0),
        );
      const target = predictions.targets[p];
      const z = rowOf(predictions.signals, p);
      const losses = Array.from({ length: S }, (_, j) => {
        const changed = z.slice();
        replaceAlong(changed, rowOf(directions, j), rowOf(replacements, p));
        return crossEntropy(logitsOf(changed), target) - crossEntropy(logitsOf(z), target);
      });
      expect(loss).toBeCloseTo(losses[direction], 5);
      if (loss > Math.max(...losses) - 1e-5) agree++;
      // If the order of the bounds differs, the effects are close.
      expect(Math.max(...losses) - loss).toBeLessThan(0.05);
    }
    expect(agree).toBeGreaterThanOrEqual(10);
  });
});

test("input and both agree with interventions at hook_recipe and hook_signals", async () => {
  const { model } = context.model;
  const text = toyText(40, 9);
  const facts = [6, 11].map((length): Fact => {
    return { ids: text.subarray(0, length), target: text[length], signals: new Float32Array(32), loss: 0 };
  });
  const empty = { signals: matrix(1, 32), recipes: matrix(1, 32) };
  const signals = [3, 17, 30];
  const rows = await ablateByForwardPasses(context, facts, empty, signals);
  for (const site of ["input", "both"] as const) {
    const { effects } = rows.find((row) => row.site === site && row.replacement === "zero")!;
    for (const [f, { ids, target }] of facts.entries()) {
      const lossWith = async (interventions: Intervention[]) => {
        const { data } = await model.forward(Array.from(ids), { interventions });
        const at = (ids.length - 1) * (V + 5);
        return crossEntropy(data.subarray(at, at + V), target);
      };
      const before = await lossWith([]);
      const losses: number[] = [];
      for (const signal of signals) {
        const ablate = (hook: string): Intervention => ({ op: "ablate", target: { signal }, hook });
        const hooks = site === "input" ? ["hook_recipe"] : ["hook_recipe", "hook_signals"];
        losses.push((await lossWith(hooks.map(ablate))) - before);
      }
      expect(effects[f].loss).toBeCloseTo(Math.max(...losses), 4);
      expect(effects[f].before).toBeCloseTo(Math.exp(-before), 5);
      expect(effects[f].after).toBeCloseTo(Math.exp(-before - Math.max(...losses)), 5);
    }
  }
});

test("signals to try: first those that facts depend on, then the largest, without duplicates", () => {
  const found = [5, 2, 5].map((direction) => ({ direction }) as Strongest);
  expect(signalsToTry(found, [1, 9, 3, 7])).toEqual([5, 2, 1, 3, 0]);
});

describe("the claim", () => {
  test("does not hold at initialisation", async () => {
    const { p, effect, null: nothing } = await claimOf(ablation, context);
    expect(p).toBeGreaterThan(0.01);
    expect(Math.abs(effect - nothing.mean)).toBeLessThan(4 * nothing.sd);
  });

  test("holds if each token has its own signal, but not after a rotation of the same model", async () => {
    const tokens = [...new Set(toyText(2000))].slice(0, 32);
    const recipe = recipesOf(0.02, (row) => {
      for (const [s, id] of tokens.entries()) row(id)[s] += 1;
    });
    // Tokens come in runs: repeating the last token is the correct prediction.
    const text = Int32Array.from({ length: 1600 }, (_, i) => tokens[Math.floor(i / 50) % 32]);
    const basis = scaledIdentity(32, 1);
    const planted = await contextWith(backend, { values: { recipe: recipe.data, basis }, text });
    const claim = await claimOf(ablation, planted);
    expect(claim.holds).toBe(true);
    expect(claim.effect).toBeGreaterThan(2 * claim.null.mean);
    const { figures } = await ablation.run(planted);
    const facts = figures.find(({ title }) => title.startsWith("Facts")) as Table;
    for (const [, , signal, before, after] of facts.rows) {
      expect(signal).toBeLessThan(32);
      expect(after).toBeLessThan(Number(before) / 3);
    }

    const q = randomOrthogonal(32, new Random("hide"));
    const { model } = planted.model;
    const hidden = await multiply(model, recipe, q);
    const rotatedBasis = await multiply(model, q, matrix(32, 32, basis), { transA: true });
    const rotated = await contextWith(backend, {
      values: { recipe: hidden.data, basis: rotatedBasis.data },
      text,
    });
    const { p, holds } = await claimOf(ablation, rotated);
    expect(holds).toBe(false);
    expect(p).toBeGreaterThan(0.01);
  });

  test("is not made for models without signals, nor for models that are not invariant under rotation", async () => {
    const twin = await contextWith(backend, { config: { variant: "gpt2-new", n_signals: undefined } });
    expect(ablation.inapplicable?.(twin)).toContain("no signals");
    const topk = await contextWith(backend, { config: { variant: "reflow-topk", top_k: 8 } });
    const { claims, figures, notes } = await ablation.run(topk);
    expect(claims).toEqual([]);
    expect(figures.length).toBe(4);
    expect(notes.at(-1)).toContain("nothing is claimed");
  });
});
