import { describe, expect, test } from "bun:test";
import { Model } from "../../../runtime/model/model.ts";
import { parseStatements } from "../../../runtime/patches/expression.ts";
import type { GenePatch } from "../../../runtime/patches/patch.ts";
import { expectError } from "../../support/expect-error.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { combine } from "../interventions/support.ts";
import { CHECKPOINT, SEA, setUpPatches, THE, WAS } from "./support.ts";

const { model, inner, values, config } = await setUpPatches();
const { n_signals: S = 0 } = config;
const [the, sea] = [THE, SEA].map((id) => [...values.get("recipe")!.subarray(id * S, (id + 1) * S)]);

/** The change (S) that a patch makes to the row of a token. */
function added({ edits }: GenePatch, token: number): number[] {
  const deltas = new Array(config.n_signals).fill(0);
  for (const edit of edits) if (edit.token === token) deltas[edit.signal] += edit.delta;
  return deltas;
}

function expectAdded(patch: GenePatch, token: number, expected: readonly number[]) {
  for (const [s, delta] of added(patch, token).entries()) expect(delta).toBeCloseTo(expected[s], 6);
}

describe("createPatch", () => {
  test("moves a recipe towards another", async () => {
    const patch = await model.createPatch("sea += 0.6 * (the - sea)");
    expect(patch.model).toBe(CHECKPOINT);
    expect(new Set(patch.edits.map(({ token }) => token))).toEqual(new Set([SEA]));
    expectAdded(patch, SEA, combine([0.6, the], [-0.6, sea]));
  });

  test("subtracts recipes", async () => {
    expectAdded(await model.createPatch("sea -= 2 * the"), SEA, combine([-2, the]));
  });

  test("each statement sees the effect of those before it, for any separator", async () => {
    for (const separator of [";", "\n", " ;; \n "]) {
      const patch = await model.createPatch(["sea += the", "was += 0.5 * sea", "sea -= the"].join(separator));
      expectAdded(patch, WAS, combine([0.5, sea], [0.5, the]));
      // Up to rounding, `sea` is unchanged.
      for (const delta of added(patch, SEA)) expect(Math.abs(delta)).toBeLessThan(1e-6);
    }
  });

  test("quotes are literal if all quoted text consists of tokens, and otherwise denote words", async () => {
    const [unspaced, and] = [tinyTokenizer.tokenId("sea")!, tinyTokenizer.tokenId(" and")!];
    expect(unspaced).not.toBe(SEA);
    expect(tinyTokenizer.tokenId("and")).toBeUndefined();
    const tokens = async (text: string) => [
      ...new Set((await model.createPatch(text)).edits.map(({ token }) => token)),
    ];
    expect(await tokens('"sea" += " the"')).toEqual([unspaced]);
    expect(await tokens('"sea" += 0.5 * "and"')).toEqual([SEA]);
    expect(await tokens('"and" += ("sea" - "and"); sea += the')).toEqual([SEA, and]);
    expect(parseStatements('"a;b" += "c\\";d"')).toEqual([
      { target: "a;b", terms: [{ text: 'c";d', coefficient: 1 }] },
    ]);
  });

  const WRONG: [expression: string, message: RegExp][] = [
    ["", /^the expression is empty$/],
    [" ; \n", /^the expression is empty$/],
    ["sea", /^`sea` adds nothing to a token/],
    ["sea = the", /^`sea = the` adds nothing to a token/],
    ["sea + the += was", /adds nothing to a token/],
    ["sea += ", /^`sea \+=`: expected .* at the end$/],
    ["sea += 3", /the number 3 is not the coefficient of a token/],
    ["3 += sea", /the number 3 is not the coefficient of a token/],
    ["sea += 1e38 * the", /a coefficient exceeds 1000000/],
    ["sea += NaN * the", /a product of two tokens/],
    ["sea += 0 * the", /changes nothing$/],
    ["sea += the - the", /changes nothing$/],
    ["sea += elephants", /" elephants" is \d+ tokens/],
    ['"elephants" += "the"', /"elephants" is \d+ tokens/],
    ["sea += 1000000 * the; sea += 1000000 * (sea + the)", /changes signal \d+ by /],
    ['sea += "the', /a quote is not closed/],
  ];
  for (const [expression, message] of WRONG) {
    test(`\`${expression}\` is rejected`, async () => {
      await expectError(() => model.createPatch(expression), "usage", message);
    });
  }

  test("requires a tokenizer, editable recipes and a model identity", async () => {
    const expectRejected = (other: Model, message: RegExp) =>
      expectError(() => other.createPatch("sea += the"), "usage", message);
    await expectRejected(new Model(inner), /needs a tokenizer, and the model has none$/);
    await expectRejected(
      new Model({ ...inner, checkpoint: undefined }, tinyTokenizer),
      /^the model has no known identity/,
    );
    await expectRejected((await setUpPatches("gpt2-new")).model, /^a gpt2-new has no recipes to edit$/);
    await expectRejected((await setUpPatches("reflow-topk")).model, /reflow-topk cannot be edited/);
  });
});
