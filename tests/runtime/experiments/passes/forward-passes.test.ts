import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { ExperimentContext } from "../../../../runtime/experiments/framework/experiment.ts";
import {
  fall,
  meanOfBothOrders,
  relativeDepths,
  shuffledLayers,
} from "../../../../runtime/experiments/passes/depth-trend.ts";
import {
  blocksBetween,
  forwardPasses,
  logitLens,
  type Push,
  pushHooks,
  randomPushDirections,
  residualHook,
  residualHooks,
  sumDirection,
  textWindows,
} from "../../../../runtime/experiments/passes/forward-passes.ts";
import {
  crossEntropy,
  entropy,
  likeliest,
  rankOf,
} from "../../../../runtime/experiments/passes/predictions.ts";
import { openings } from "../../../../runtime/experiments/passes/prompts.ts";
import type { Intervention } from "../../../../runtime/interventions/spec.ts";
import { lengthOf } from "../../../../runtime/math/direction.ts";
import { matrix, rowOf } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { contextWith, tokenOf } from "../planted-model.ts";
import { toyTokenizer, V } from "../toy-model.ts";

let backend: Backend;
let context: ExperimentContext;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  context = await contextWith(backend, { config: { n_layers: 3 } });
});
afterAll(() => backend.dispose());

const ids = (...words: string[]) => words.map(tokenOf);

/** Largest absolute difference. */
const difference = (a: Float32Array, b: Float32Array) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

describe("forwardPasses", () => {
  test("sequences of any length, over several passes, give the same output as each alone", async () => {
    const random = new Random("sequences");
    const items = Array.from({ length: 60 }, (_, i) => ({
      ids: Array.from({ length: 1 + ((i * 7) % 32) }, () => Math.floor(V * random.uniform())),
    }));
    const hook = residualHook(1);
    let count = 0;
    for await (const { item, logits, activation } of forwardPasses(context, items, { record: [hook] })) {
      expect(item).toBe(items[count]);
      if (count++ % 9 > 0) continue;
      const alone = await context.model.model.runWithCache(item.ids, { namesFilter: [hook, "hook_logits"] });
      for (const t of [0, item.ids.length - 1]) {
        const [all, x] = ["hook_logits", hook].map((name) => alone.get(name)!.data);
        expect(logits(t).length).toBe(V);
        expect(difference(logits(t), all.subarray(t * (V + 5), t * (V + 5) + V))).toBeLessThan(1e-5);
        expect(difference(activation(hook, t), x.subarray(t * 32, (t + 1) * 32))).toBeLessThan(1e-5);
      }
    }
    expect(count).toBe(60);
  });

  test("a push is an intervention on its own sequence only", async () => {
    const u = sumDirection(context.model, [
      { id: tokenOf("great"), coefficient: 1 },
      { id: tokenOf("terrible"), coefficient: -0.5 },
    ]);
    const vector = new Float64Array(32);
    for (const [i, index] of u.indices.entries()) vector[index] = u.values[i];
    const sequence = ids("king", "queen", "three");
    const push = (by: number, unit: Push["unit"], layers: Push["layers"]) => ({ u, by, unit, layers });
    const items = [
      { ids: sequence },
      { ids: [...sequence, tokenOf("four")], push: push(0.7, "residNorm", [0, 1]) },
      { ids: sequence, push: push(-2, "raw", [2, 2]) },
      { ids: sequence, push: push(0, "raw", [0, 2]) },
    ];
    const found: Float32Array[] = [];
    for await (const { item, logits } of forwardPasses(context, items, { hooks: pushHooks })) {
      found.push(logits(item.ids.length - 1).slice());
    }
    for (const [i, item] of items.entries()) {
      const interventions: Intervention[] = item.push
        ? [
            {
              op: "add",
              target: { vector: vector.map((x) => x / lengthOf(vector)) },
              hook: "hook_resid_post",
              layers: [...item.push.layers],
              strength: item.push.by,
              unit: item.push.unit,
            },
          ]
        : [];
      const { data } = await context.model.model.forward(item.ids, { interventions });
      const at = (item.ids.length - 1) * (V + 5);
      expect(difference(found[i], data.subarray(at, at + V))).toBeLessThan(1e-5);
    }
    expect(difference(found[0], found[3])).toBe(0);
    expect(difference(found[0], found[2])).toBeGreaterThan(0.1);
  });
});

test("the logit lens is the readout: the logits after the last block, E·RMSNorm(x) before it", async () => {
  const names = residualHooks(context.model.model.config);
  expect(names).toEqual(["blocks.0.hook_resid_pre", ...[0, 1, 2].map(residualHook)]);
  const sequence = ids("king", "queen", "three");
  const rows = matrix(2, 32);
  let final: Float32Array | undefined;
  for await (const { activation, logits } of forwardPasses(context, [{ ids: sequence }], { record: names })) {
    rowOf(rows, 0).set(activation(names[1], 2));
    rowOf(rows, 1).set(activation(names[3], 2));
    final = logits(2).slice();
  }
  const predicted: Float32Array[] = [];
  for await (const logits of logitLens(context, rows)) predicted.push(logits.slice());
  expect(difference(predicted[1], final!)).toBeLessThan(1e-5);
  const x = rowOf(rows, 0);
  const scale = 1 / Math.sqrt(x.reduce((sum, y) => sum + y * y, 0) / 32 + 1e-5);
  for (const id of [5, tokenOf("great"), V - 1]) {
    const row = rowOf(context.model.embedding, id);
    expect(predicted[0][id]).toBeCloseTo(scale * row.reduce((sum, e, i) => sum + e * x[i], 0), 5);
  }
});

test("blocks between fractions of depth: at least one", () => {
  expect(blocksBetween(32, 0, 0.38)).toEqual([0, 11]);
  expect(blocksBetween(6, 0, 0.38)).toEqual([0, 1]);
  expect(blocksBetween(6, 0.62, 1)).toEqual([4, 5]);
  expect(blocksBetween(1, 0.62, 1)).toEqual([0, 0]);
  expect(blocksBetween(2, 0.38, 0.4)).toEqual([1, 1]);
});

test("random directions have length 1 and are those of random recipes, not of random residuals", async () => {
  const basis = new Float32Array(32 * 32);
  for (let s = 0; s < 32; s++) basis[s * 32 + (s % 4)] = 1;
  const flat = await contextWith(backend, { values: { basis } });
  for (const u of await randomPushDirections(flat.model, 5, new Random("u"))) {
    expect(lengthOf(u.values)).toBeCloseTo(1, 10);
    expect([...u.indices]).toEqual([0, 1, 2, 3]);
  }
});

test("windows lie within documents and do not overlap", () => {
  const end = toyTokenizer.endOfText;
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 80 }),
      fc.integer({ min: 0, max: 6 }),
      fc.integer({ min: 1, max: 9 }),
      (tokens, count, length) => {
        // Every id except the document separators is unique.
        const text = Int32Array.from(tokens, (token, i) => (token === 0 ? end : 1000 + i));
        const found = textWindows({ ...context, text }, { count, length }, new Random("w"));
        expect(found.length).toBeLessThanOrEqual(count);
        for (const window of found) {
          expect(window.length).toBe(length);
          expect([...window]).not.toContain(end);
          expect([...window]).toEqual(Array.from({ length }, (_, i) => window[0] + i));
        }
        expect(new Set(found.flatMap((window) => [...window])).size).toBe(found.length * length);
        const documents = text.join(",").split(`${end}`);
        const room = documents.map((part) => part.split(",").filter((id) => id !== "").length);
        const most = room.reduce((sum, tokens) => sum + Math.floor(tokens / length), 0);
        expect(found.length).toBe(Math.min(count, most));
      },
    ),
  );
  expect(textWindows(context, { count: 3, length: 0 }, new Random("w"))).toEqual([]);
});

test("openings with words that are not single tokens are left out and counted", () => {
  const { kept, leftOut } = openings(context, 30);
  expect(kept).toEqual([]);
  expect(leftOut).toBeGreaterThan(10);
});

test("predictions: logits log 1, log 2, log 5 have the probabilities 1/8, 1/4, 5/8", () => {
  const logits = Float32Array.from([1, 2, 5], Math.log);
  expect(crossEntropy(logits, 1)).toBeCloseTo(Math.log(4), 6);
  expect(entropy(logits)).toBeCloseTo(Math.log(8) / 8 + Math.log(4) / 4 + (5 / 8) * Math.log(8 / 5), 6);
  expect([0, 1, 2].map((id) => rankOf(logits, id))).toEqual([3, 2, 1]);
  expect(likeliest(logits)).toBe(2);
  // Probabilities of zero, and logits beyond the range of exp.
  expect(entropy(Float32Array.of(1000, -1000))).toBe(0);
  expect(crossEntropy(Float32Array.of(1000, 1000), 0)).toBeCloseTo(Math.log(2), 6);
});

describe("trends", () => {
  test("the fall of a least-squares line", () => {
    expect(fall([3, 2, 1, 0])).toBeCloseTo(3, 12);
    expect(fall([0, 1])).toBeCloseTo(-1, 12);
    expect(fall([1, 0, 1])).toBeCloseTo(0, 12);
    expect(fall([4, 0, 0])).toBeCloseTo(4, 12); // A slope of −2 per step, over two steps.
    expect(relativeDepths(3)).toEqual([0, 0.5, 1]);
    expect(meanOfBothOrders([4, 1, 0])).toEqual([2, 1, 2]);
  });

  test("shuffled layers give each item's fall or its opposite", () => {
    const values = shuffledLayers([1, 10], 400, new Random("s"));
    expect(new Set(values)).toEqual(new Set([5.5, 4.5, -4.5, -5.5]));
    for (const value of [5.5, -4.5]) {
      expect(Math.abs([...values].filter((x) => x === value).length - 100)).toBeLessThan(40);
    }
  });
});
