import { expect, test } from "bun:test";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import type { Model } from "../../../runtime/model/model.ts";
import { SEA, setUp, THE, WAS } from "../interventions/support.ts";

const ids = [THE, SEA, WAS, THE, SEA];

/** Softmax over the last axis of logits (1,T,V), restricted to the tokens of the tokenizer. */
async function predictions(model: Model, options = {}): Promise<Float64Array[]> {
  const { data, shape } = await model.forward(ids, options);
  const V = shape[2];
  return ids.map((_, t) => {
    const row = Float64Array.from(data.subarray(t * V, (t + 1) * V));
    const most = row.reduce((a, b) => Math.max(a, b));
    const exp = row.map((x) => Math.exp(x - most));
    const total = exp.reduce((a, b) => a + b);
    return exp.map((x) => x / total);
  });
}

for (const variant of ["reflow", "reflow-topk", "gpt2"] as const) {
  test(`${variant}: after the last block the lens equals the prediction of the model`, async () => {
    const { model, config } = await setUp(variant);
    const { cells, hooks, tokens, positions } = await model.lens(ids, { top: 4 });
    const expected = await predictions(model);
    expect(hooks).toHaveLength(config.n_layers + 1);
    expect(tokens.map(({ id }) => id)).toEqual(ids);
    expect(positions).toEqual([0, 1, 2, 3, 4]);
    for (const [t, { top, next }] of cells.at(-1)!.entries()) {
      expect(top).toHaveLength(4);
      for (const { id, probability } of top) expect(probability).toBeCloseTo(expected[t][id], 5);
      const best = expected[t].subarray(0, 290).reduce((a, b) => Math.max(a, b));
      expect(top[0].probability).toBeCloseTo(best, 5);
      if (t === ids.length - 1) expect(next).toBeUndefined();
      else expect(next).toBeCloseTo(expected[t][ids[t + 1]], 5);
    }
  });
}

test("before the first block the lens reads out the embedding", async () => {
  const { model, config } = await setUp();
  const { cells } = await model.lens(ids, { top: 290, positions: [1] });
  const last = `blocks.${config.n_layers - 1}.hook_resid_post`;
  const embedded = (await model.runWithCache(ids, { namesFilter: "hook_embed" })).get("hook_embed")!;
  const { data, shape } = await model.runWithHooks(ids, { hooks: [[last, () => embedded.data]] });
  const logits = data.subarray(shape[2], 2 * shape[2]);
  const order = (a: number, b: number) => logits[b] - logits[a];
  const expected = Array.from({ length: 290 }, (_, id) => id).sort(order);
  expect(cells[0][0].top.map(({ id }) => id)).toEqual(expected);
});

test("interventions and patches apply, and interventions after the last block are rejected", async () => {
  const { model } = await setUp();
  const steered: Intervention = { op: "add", target: { token: " sea" }, hook: "hook_embed", strength: 3 };
  const { cells } = await model.lens(ids, { interventions: [steered], top: 1, positions: [4] });
  const [expected] = (await predictions(model, { interventions: [steered] })).slice(-1);
  expect(cells.at(-1)![0].top[0].probability).toBeCloseTo(Math.max(...expected.subarray(0, 290)), 5);
  const late: Intervention = { ...steered, hook: "hook_signals" };
  expect(model.lens(ids, { interventions: [late] })).rejects.toThrow(
    "the lens does not include hook_signals",
  );
  expect(model.lens([])).rejects.toThrow("a sequence of 0 ids");
  expect(model.lens(ids, { positions: [5] })).rejects.toThrow("positions[0] is 5");
  expect(model.lens(ids, { signal: AbortSignal.abort(new Error("left")) })).rejects.toThrow("left");
});

test("scoreTokens reports the log-probabilities of logprobs, with the most likely tokens", async () => {
  const { model } = await setUp();
  const scores = await model.scoreTokens(ids, { top: 2 });
  const expected = await model.logprobs(ids);
  const likely = await predictions(model);
  expect(scores.map(({ id }) => id)).toEqual(ids);
  expect(scores[0]).toEqual({ id: ids[0], top: [] });
  for (const [t, { logprob, top }] of scores.slice(1).entries()) {
    expect(logprob).toBeCloseTo(expected[t], 5);
    expect(Math.exp(top[0].logprob)).toBeCloseTo(Math.max(...likely[t].subarray(0, 290)), 5);
    expect(top).toHaveLength(2);
  }
  expect(await model.scoreTokens([])).toEqual([]);
});
