import { describe, expect, test } from "bun:test";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { klDivergence } from "../../../runtime/math/logits.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { SEA, setUpPatches } from "../patches/support.ts";
import { randomIds } from "../transformer/inference-support.ts";

const { model, config, patchOf } = await setUpPatches();
const { vocab_size: V, context } = config;
const kinder: Intervention = {
  op: "add",
  target: { expression: "sea - the" },
  hook: "hook_resid_post",
  layers: [0, 1],
  strength: 0.5,
  unit: "residNorm",
};
const patch = patchOf([SEA, 3, 2]);

describe("evaluate", () => {
  test("interventions apply to each window as a separate text", async () => {
    const ids = randomIds(config, 2 * context);
    let sum = 0;
    for (const [begin, first] of [
      [0, 0],
      [context / 2, context / 2],
      [context, context / 2],
    ]) {
      const window = ids.subarray(begin, Math.min(begin + context, ids.length - 1));
      const { data } = await model.forward(window, { interventions: [kinder] });
      for (let t = first; t < window.length; t++) {
        const row = Array.from(data.subarray(t * V, (t + 1) * V), Math.exp);
        sum -= Math.log(row[ids[begin + t + 1]] / row.reduce((a, b) => a + b));
      }
    }
    const { loss, tokens } = await model.evaluate(ids, { interventions: [kinder] });
    expect(loss).toBeCloseTo(sum / tokens, 5);
    expect(loss).not.toBeCloseTo((await model.evaluate(ids)).loss, 3);
    const idle = { ...kinder, strength: 0 };
    expect(await model.evaluate(ids, { interventions: [idle] })).toEqual(await model.evaluate(ids));
  });

  test("positions beyond every window are rejected", async () => {
    const ids = randomIds(config, 9);
    const wrong = (positions: Intervention["positions"]) =>
      model.evaluate(ids, { interventions: [{ ...kinder, positions }] });
    await expectError(() => wrong([8]), "usage", /positions\[0\] is 8/);
    await expectError(() => wrong("generated"), "usage", /positions is "generated"/);
    expect((await wrong([7])).tokens).toBe(8);
  });
});

describe("divergence", () => {
  test("equals the divergence computed from the logits", () => {
    const [p, q] = [
      [1, 3],
      [1, 1],
    ].map((shares) => Float32Array.from(shares, Math.log));
    expect(klDivergence(p, q)).toBeCloseTo(0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 6);
    expect(klDivergence(q, p)).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 6);
    expect(klDivergence(p, p)).toBe(0);
    const never = Float32Array.of(0, -Infinity);
    expect(klDivergence(never, Float32Array.of(0, 0))).toBeCloseTo(Math.log(2), 6);
    expect(klDivergence(never, never)).toBe(0);
  });

  test("covers every position of several windows, with a patch and interventions", async () => {
    const ids = randomIds(config, context + 5);
    const options = { patch, interventions: [kinder] };
    const expected: number[] = [];
    for (const window of [ids.subarray(0, context), ids.subarray(context)]) {
      const [plain, changed] = [
        (await model.forward(window)).data,
        (await model.forward(window, options)).data,
      ];
      for (let t = 0; t < window.length; t++) {
        const row = (data: Float32Array) => data.subarray(t * V, (t + 1) * V);
        expected.push(klDivergence(row(plain), row(changed)));
      }
    }
    const found = await model.divergence(ids, options);
    assertClose(found, expected, { relative: 1e-6 }, "KL");
    expect(Math.min(...found)).toBeGreaterThan(0);
    expect([...(await model.divergence(ids, {}))]).toEqual(Array(ids.length).fill(0));
  });

  test("an empty text is rejected, and an aborted signal rejects with its reason", async () => {
    await expectError(() => model.divergence([], { patch }), "data", /^the text is empty$/);
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(model.divergence(randomIds(config, 9), { patch, signal })).rejects.toThrow("enough");
  });
});
