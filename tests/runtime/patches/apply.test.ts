import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { GenerateOptions, Prompt } from "../../../runtime/generation/options.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { Model } from "../../../runtime/model/model.ts";
import { composePatches, type GenePatch, invertPatch } from "../../../runtime/patches/patch.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { makeModel } from "../transformer/inference-support.ts";
import { CHECKPOINT, SEA, setUpPatches, THE, WAS } from "./support.ts";

const setting = await setUpPatches();
const { model, config, patchOf } = setting;
const { vocab_size: V, n_signals: S = 0 } = config;
const patch = patchOf([SEA, 3, 0.7], [SEA, 11, -0.4], [WAS, 0, 1.5]);
const edited = await setting.edited(patch.edits);
const ids = model.tokenize("the sea was the sea and the king was");
const apart = model.tokenize("the king and the queen of the people");

async function text(model: Model, prompt: Prompt | Prompt[], options: GenerateOptions = {}) {
  const texts: string[] = [];
  for await (const { index, text } of model.generate(prompt, { maxTokens: 8, seed: 3, ...options })) {
    texts[index] = (texts[index] ?? "") + text;
  }
  return texts;
}

describe("a patched model equals a model whose R was edited:", () => {
  test("logits agree, and earlier activations are equal to the bit", async () => {
    const names = (name: string) => name !== "hook_logits";
    const [own, other] = [
      await model.runWithCache(ids, { patch, namesFilter: names }),
      await edited.runWithCache(ids, { namesFilter: names }),
    ];
    expect(own).toEqual(other);
    const { data } = await edited.forward(ids);
    assertClose((await model.forward(ids, { patch })).data, data, { relative: 1e-6 }, "forward");
    assertClose((await model.runWithHooks(ids, { patch })).data, data, { relative: 1e-6 }, "runWithHooks");
    expect((await model.forward(ids)).data).not.toEqual(data);
  });

  test("on the float64 reference backend, in batches, and for a reflow-lite", async () => {
    const reference = await makeModel(new ReferenceBackend(), config, "f32", setting.values);
    const batch = [ids, ids.toReversed()];
    const expected = (await edited.forward(batch)).data;
    const other = new Model({ ...reference, checkpoint: CHECKPOINT }, tinyTokenizer);
    assertClose((await other.forward(batch, { patch })).data, expected, { relative: 1e-5 }, "reference");
    const lite = await setUpPatches("reflow-lite");
    const { data } = await (await lite.edited(patch.edits)).forward(ids);
    assertClose((await lite.model.forward(ids, { patch })).data, data, { relative: 1e-6 }, "reflow-lite");
  });

  for (const type of ["f16", "i8"] as const) {
    test(`${type} weights: the decoded values are edited`, async () => {
      const { model } = await setUpPatches("reflow", {}, type);
      const before = (await model.tables()).recipe.data;
      const { data } = (await model.tables({ patch })).recipe;
      expect(data[SEA * S + 3]).toBe(Math.fround(before[SEA * S + 3] + 0.7));
      const plain = await model.runWithCache(apart, { namesFilter: ["hook_signals", "hook_logits"] });
      const { data: logits } = await model.forward(apart, { patch });
      const [z, last] = [plain.get("hook_signals")!.data.slice(-S), apart.length - 1];
      const expected = z.reduce((sum, x, s) => sum + x * data[SEA * S + s], 0);
      expect(logits[last * V + SEA]).toBeCloseTo(expected, 4);
      expect(logits[last * V + THE]).toBe(plain.get("hook_logits")!.data[last * V + THE]);
    });
  }

  test("without edited tokens in the text, only their logits differ", async () => {
    const [plain, patched] = [await model.forward(apart), await model.forward(apart, { patch })];
    let differ = 0;
    for (const [i, x] of patched.data.entries()) {
      if (i % V === SEA || i % V === WAS) differ += Number(x !== plain.data[i]);
      else if (!Object.is(x, plain.data[i])) throw new Error(`logit ${i} differs`);
    }
    expect(differ).toBe(2 * apart.length);
  });

  test("generation with and without a cache, alone, in a batch, and beside requests with other patches", async () => {
    const prompts = ["the sea was", "the king and the sea", ""];
    const expected = await text(edited, prompts);
    expect(await text(model, prompts, { patch })).toEqual(expected);
    expect(await text(model, prompts, { patch, cached: false })).toEqual(expected);
    const plain = await text(model, prompts);
    expect(plain).not.toEqual(expected);
    const back = invertPatch(patch);
    const together = await Promise.all([
      text(model, prompts, { patch }),
      text(model, prompts),
      text(model, prompts, { patch: back }),
    ]);
    expect(together).toEqual([expected, plain, await text(model, prompts, { patch: back })]);
  });

  test("interventions use the edited R for directions and reference measurements", async () => {
    const interventions: Intervention[] = [
      { op: "add", target: { expression: "sea - the" }, hook: "hook_embed", strength: 0.5 },
      { op: "add", target: { token: " was" }, hook: "hook_signals", strength: 0.3, unit: "sigma" },
    ];
    const options = { interventions, reference: "the sea was the king and the sea" };
    // Fills the cache of reference components with those of the unpatched model.
    await model.forward(ids, options);
    const { data } = await model.forward(ids, { ...options, patch });
    assertClose(data, (await edited.forward(ids, options)).data, { relative: 1e-5 }, "steered");
  });

  test("steer: the default run is unpatched", async () => {
    const texts = { default: "", steered: "" };
    for await (const event of model.steer("the sea was", {
      interventions: [],
      patch,
      maxTokens: 8,
      seed: 3,
    })) {
      texts[event.run] += event.text;
    }
    expect(texts).toEqual({
      default: (await text(model, "the sea was"))[0],
      steered: (await text(edited, "the sea was"))[0],
    });
  });

  test("evaluate: the loss agrees", async () => {
    const long = model.tokenize("the sea was the king and the queen of the sea. ".repeat(4));
    expect((await model.evaluate(long, { patch })).loss).toBeCloseTo((await edited.evaluate(long)).loss, 6);
  });
});

describe("reverting", () => {
  test("logits and tables of the model stay equal to the bit after any patches", async () => {
    const [logits, tables] = [(await model.forward(ids)).data, await model.tables()];
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.nat(tinyTokenizer.vocabSize - 1),
            fc.nat(S - 1),
            fc.double({ min: -3, max: 3, noNaN: true }),
          ),
          {
            maxLength: 6,
          },
        ),
        async (edits) => {
          const some = patchOf(...edits);
          await model.forward(ids, { patch: some });
          expect((await model.forward(ids)).data).toEqual(logits);
          const undone = composePatches(some, invertPatch(some));
          expect((await model.forward(ids, { patch: undone })).data).toEqual(logits);
        },
      ),
      { numRuns: 8 },
    );
    expect(await model.tables()).toEqual(tables);
  });

  test("edits lost to rounding change nothing", async () => {
    const { data } = await model.forward(ids, { patch: patchOf([SEA, 3, 1e-30], [THE, 1, 0]) });
    expect(data).toEqual((await model.forward(ids)).data);
  });

  test("composed patches equal the sum of their edits", async () => {
    const [p, q] = [patchOf([SEA, 3, 0.2], [WAS, 1, 1]), patchOf([SEA, 3, 0.5], [THE, 2, -1])];
    const sum = await setting.edited([...p.edits, ...q.edits]);
    const { data } = await model.forward(ids, { patch: composePatches(p, q) });
    assertClose(data, (await sum.forward(ids)).data, { relative: 1e-6 }, "composed");
  });
});

describe("rejected", () => {
  const expectRejected = async (patch: GenePatch, message: RegExp, of = model) => {
    await expectError(() => of.forward(ids, { patch }), "usage", message);
    await expectError(() => of.generate("the", { patch }).next(), "usage", message);
  };

  test("a patch for another model, and for a model without an identity", async () => {
    const other = { ...patch, model: CHECKPOINT.replace("0", "f") };
    await expectRejected(other, /^patch\.model is f1\S+: the model is 0123/);
    const unknown = new Model({ ...setting.inner, checkpoint: undefined }, tinyTokenizer);
    await expectRejected(patch, /^the model has no known identity/, unknown);
  });

  test("tokens and signals out of range, including padding", async () => {
    const n = tinyTokenizer.vocabSize;
    await expectRejected(
      patchOf([n, 0, 1]),
      new RegExp(`^patch\\.edits\\[0\\]\\.token is ${n}: expected one of ${n} tokens`),
    );
    await expectRejected(
      patchOf([0, 0, 1], [1, S, 1]),
      /^patch\.edits\[1\]\.signal is 20: expected one of 20 signals/,
    );
  });

  test("non-finite and huge deltas, and invalid patches", async () => {
    await expectRejected(patchOf([0, 0, Number.NaN]), /^patch\.edits\[0\]\.delta is NaN/);
    await expectRejected(patchOf([0, 0, 1e38]), /^patch\.edits\[0\]\.delta is 1e\+38/);
    await expectRejected({} as GenePatch, /^patch\.model is missing/);
  });

  test("models without recipes, and with top-k recipes", async () => {
    await expectRejected(patch, /^a gpt2 has no recipes to edit/, (await setUpPatches("gpt2")).model);
    await expectRejected(patch, /reflow-topk cannot be edited/, (await setUpPatches("reflow-topk")).model);
  });
});
