import { expect, test } from "bun:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { Model } from "../../../runtime/model/model.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { norm, SEA, setUp, THE, WAS } from "../interventions/support.ts";
import { CHECKPOINT } from "../patches/support.ts";

const ids = [THE, SEA, WAS];
const add = (more: object): Intervention =>
  ({ op: "add", target: { token: " sea" }, hook: "hook_logits", strength: 2, ...more }) as Intervention;

/** Log-probabilities (V) of the token after the text, computed from the logits. */
async function nextLogprobs(model: Awaited<ReturnType<typeof setUp>>["model"]): Promise<Float64Array> {
  const { data, shape } = await model.forward(ids);
  const last = Float64Array.from(data.subarray((shape[1] - 1) * shape[2]));
  const total = Math.log(last.reduce((sum, x) => sum + Math.exp(x), 0));
  return last.map((x) => x - total);
}

test("a patch applies to the steered run and not to the default run", async () => {
  const { inner } = await setUp();
  const model = new Model({ ...inner, checkpoint: CHECKPOINT }, tinyTokenizer);
  const patch = { model: CHECKPOINT, edits: [{ token: SEA, signal: 4, delta: 3 }] };
  const options = { interventions: [add({ strength: 0 })], target: SEA };
  const plain = await model.chanceBand(ids, options);
  const patched = await model.chanceBand(ids, { ...options, patch });
  expect(patched.default).toBe(plain.default);
  expect(Math.abs(patched.change)).toBeGreaterThan(0.01);
});

test("biasing a token's own logit changes its log-probability as the softmax predicts", async () => {
  const { model } = await setUp();
  const logprobs = await nextLogprobs(model);
  const {
    default: own,
    steered,
    change,
    target,
  } = await model.chanceBand(ids, {
    interventions: [add({})],
    target: " sea",
  });
  // p → p·e² / (1 − p + p·e²)
  const p = Math.exp(logprobs[SEA]);
  const after = 2 + logprobs[SEA] - Math.log(1 - p + p * Math.exp(2));
  expect(target).toEqual({ id: SEA, text: " sea" });
  expect(own).toBeCloseTo(logprobs[SEA], 5);
  expect(steered).toBeCloseTo(after, 5);
  expect(change).toBeCloseTo(after - logprobs[SEA], 5);
});

test("the band is the 5th to the 95th percentile of the draws", async () => {
  const { model } = await setUp();
  const { low, high, draws } = await model.chanceBand(ids, { interventions: [add({})], target: SEA });
  const sorted = [...draws].sort((a, b) => a - b);
  expect(draws).toHaveLength(16);
  expect(new Set(draws).size).toBe(16);
  // 16 draws have 15 intervals: the percentiles are at 0.75 and 14.25.
  expect(low).toBeCloseTo(sorted[0] + 0.75 * (sorted[1] - sorted[0]), 12);
  expect(high).toBeCloseTo(sorted[14] + 0.25 * (sorted[15] - sorted[14]), 12);
});

test("random directions have the length of the target and do not depend on its direction", async () => {
  const { model, row } = await setUp();
  const hooks = ["hook_recipe", "hook_embed", "hook_signals", "ln_final.hook_normalized"];
  for (const hook of hooks) {
    const isStream = hook === "hook_embed" || hook.startsWith("ln");
    const one = row("recipe", SEA).length;
    const vector = Array.from({ length: isStream ? row("basis", 0).length : one }, (_, i) => Math.sin(i + 1));
    const draws = async (target: object, strength: number) =>
      (await model.chanceBand(ids, { interventions: [add({ hook, target, strength })], target: SEA })).draws;
    const first = await draws({ vector }, 1);
    // Another direction of the same length; half the length with twice the strength; and twice the length.
    const reversed = await draws({ vector: [...vector].reverse() }, 1);
    const shorter = await draws({ vector: vector.map((x) => x / 2) }, 2);
    const longer = await draws({ vector: vector.map((x) => 2 * x) }, 1);
    first.forEach((draw, i) => {
      expect(reversed[i]).toBeCloseTo(draw, 4);
      expect(shorter[i]).toBeCloseTo(draw, 4);
    });
    expect(norm(longer)).toBeGreaterThan(norm(first) + 1e-4);
  }
});

test("the seed determines the draws, and strength scales them", async () => {
  const { model } = await setUp();
  const draws = async (more: object) =>
    (await model.chanceBand(ids, { interventions: [add({ hook: "hook_embed" })], target: SEA, ...more }))
      .draws;
  const first = await draws({});
  expect(await draws({ seed: 1 })).toEqual(first);
  expect(await draws({ seed: 2 })).not.toEqual(first);
  expect(await draws({ draws: 3 })).toEqual(first.slice(0, 3));
  const idle = [add({ hook: "hook_embed", strength: 0 })];
  expect(await draws({ interventions: idle })).toEqual(first.map(() => 0));
});

test("both directions of a swap are random, and each intervention draws its own direction", async () => {
  const { model } = await setUp();
  const swap = {
    op: "swap",
    target: { token: " sea" },
    with: { token: " was" },
    hook: "hook_embed",
  } as const;
  const two = [add({ hook: "hook_embed" }), add({ hook: "hook_embed", strength: -2 })];
  const band = await model.chanceBand(ids, { interventions: [swap], target: SEA });
  expect(band.draws.every((draw) => draw !== band.change)).toBe(true);
  const cancelling = await model.chanceBand(ids, { interventions: two, target: SEA });
  expect(Math.abs(cancelling.change)).toBeLessThan(1e-6);
  expect(Math.min(...cancelling.draws.map(Math.abs))).toBeGreaterThan(1e-6);
});

test("interventions at later positions do not affect the next token", async () => {
  const { model } = await setUp();
  const band = (positions: unknown) =>
    model.chanceBand(ids, { interventions: [add({ hook: "hook_embed", positions })], target: SEA });
  expect((await band("generated")).draws).toEqual(Array(16).fill(0));
  expect((await band([5])).change).toBe(0);
  expect(await band([1, 7])).toEqual(await band([1]));
});

test("invalid options are rejected, and an aborted signal rejects with its reason", async () => {
  const { model } = await setUp();
  const band = (more: object) => model.chanceBand(ids, { interventions: [add({})], target: SEA, ...more });
  const cases: [object, RegExp][] = [
    [{ interventions: [] }, /no interventions to compare/],
    [{ target: 290 }, /target is 290: expected one of 290 tokens/],
    [{ target: " king queen" }, /target/],
    [{ draws: 0 }, /draws is 0/],
    [{ interventions: [add({ hook: "hook_nowhere" })] }, /hook/],
  ];
  for (const [more, message] of cases) {
    const error = await band(more).catch((error) => error);
    expect(error).toBeInstanceOf(ReflowError);
    expect(error.message).toMatch(message);
  }
  const left = AbortSignal.abort(new Error("left"));
  expect(band({ signal: left })).rejects.toThrow("left");
});
