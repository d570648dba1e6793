import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { ExperimentContext } from "../../../../runtime/experiments/framework/experiment.ts";
import type { Scatter, Table } from "../../../../runtime/experiments/framework/figure.ts";
import { sentimentOf } from "../../../../runtime/experiments/passes/sentiment.ts";
import {
  editKl,
  embeddingDistance,
  isNearer,
  logprobsOf,
  patchEvaluator,
  patchOf,
  type RecipeEdit,
  randomSignalPatch,
  sizeMatched,
} from "../../../../runtime/experiments/patching/gene-effects.ts";
import { frequencyMatchedWords, textsOf } from "../../../../runtime/experiments/patching/gene-texts.ts";
import { genes, localShare } from "../../../../runtime/experiments/patching/genes.ts";
import { klDivergence } from "../../../../runtime/math/logits.ts";
import { rowOf } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import type { GenePatch } from "../../../../runtime/patches/patch.ts";
import { SENTIMENT } from "../../../../runtime/text/word-lists.ts";
import { claimOf, contextWith, recipesOf, tokenOf } from "../planted-model.ts";
import { toyText } from "../toy-model.ts";

let backend: Backend;
let context: ExperimentContext;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  context = await contextWith(backend, { config: { n_layers: 2 } });
});
afterAll(() => backend.dispose());

const terrible: RecipeEdit = { token: tokenOf("terrible"), towards: tokenOf("great"), strength: 0.6 };
const sad: RecipeEdit = { token: tokenOf("sad"), towards: tokenOf("happy"), strength: 0.6 };

/** ‖δ·B‖ for the change δ of a token's recipe. */
function sizeOf({ model: { basis } }: ExperimentContext, { edits }: GenePatch, token: number): number {
  const sum = new Float64Array(basis!.columns);
  for (const { signal, delta } of edits.filter((edit) => edit.token === token))
    for (const [i, x] of rowOf(basis!, signal).entries()) sum[i] += delta * x;
  return Math.hypot(...sum);
}

describe("edits", () => {
  test("edits give the same patch as their expression", async () => {
    const made = patchOf(context.model, [terrible, sad]);
    const expression = "terrible += 0.6 * (great - terrible); sad += 0.6 * (happy - sad)";
    const { model, edits } = await context.model.model.createPatch(expression);
    expect(made.model).toBe(model);
    expect(made.edits.length).toBe(64);
    for (const [i, { token, signal, delta }] of made.edits.entries()) {
      expect([token, signal]).toEqual([edits[i].token, edits[i].signal]);
      expect(delta).toBeCloseTo(edits[i].delta, 8);
    }
  });

  test("edits of other tokens and along random signals have the same size in the embedding", async () => {
    const size = 0.6 * embeddingDistance(context.model, terrible);
    expect(sizeOf(context, patchOf(context.model, [terrible]), terrible.token)).toBeCloseTo(size, 6);
    const other = sizeMatched(context.model, terrible, {
      token: tokenOf("horse"),
      towards: tokenOf("seven"),
    });
    expect(other.strength).not.toBe(0.6);
    expect(sizeOf(context, patchOf(context.model, [other]), other.token)).toBeCloseTo(size, 6);
    const random = await randomSignalPatch(context.model, [terrible, sad], new Random("signals"));
    expect(sizeOf(context, random, terrible.token)).toBeCloseTo(size, 6);
    expect(sizeOf(context, random, sad.token)).toBeCloseTo(0.6 * embeddingDistance(context.model, sad), 6);
    // An edit of a token towards itself has no effect.
    expect(sizeMatched(context.model, terrible, { token: 3, towards: 3 }).strength).toBe(0);
  });
});

describe("effects of a patch", () => {
  test("two tokens, worked out by hand: (1/4, 3/4) becomes (1/2, 1/2)", () => {
    const logprobs = Float32Array.of(Math.log(0.25), Math.log(0.75));
    const column = new Map([
      [7, 0],
      [9, 1],
    ]);
    const kl = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
    expect(editKl(logprobs, [{ token: 7, towards: 9, strength: 1 }], column)).toBeCloseTo(kl, 6);
    expect(editKl(logprobs, [{ token: 7, towards: 9, strength: 0 }], column)).toBe(0);
    expect(localShare(3, 1)).toBe(0.75);
    expect(localShare(0, 0)).toBe(0.5);
    expect([isNearer(0.6, 0, 1), isNearer(0.4, 0, 1), isNearer(-2, 0, -3), isNearer(0, 0, 0)]).toEqual([
      true,
      false,
      true,
      false,
    ]);
  });

  test("for texts without edited words the formula agrees with a pass through the patched model", async () => {
    const recipeEdits = [terrible, { ...sad, strength: 1.5 }];
    const text = context.text.filter((id) => ![terrible, sad].some(({ token }) => id === token)).slice(0, 32);
    const tokens = recipeEdits.flatMap(({ token, towards }) => [token, towards]);
    const column = new Map(tokens.map((id, i) => [id, i]));
    const logprobs = await logprobsOf(context, [text], tokens, { everywhere: true });
    const passes = await context.model.model.divergence(text, { patch: patchOf(context.model, recipeEdits) });
    for (const [t, kl] of passes.entries()) {
      // The pass includes padding, a hundredth of the tokens, and rounds KL to 1e-7.
      const formula = editKl(rowOf(logprobs, t), recipeEdits, column);
      expect(Math.abs(formula - kl)).toBeLessThan(0.03 * kl + 1e-6);
    }
    const last = await logprobsOf(context, [text], tokens, { everywhere: false });
    expect(last.data).toEqual(rowOf(logprobs, 31));
  });

  test("shift and KL are those of the patched model's logits", async () => {
    const { model, recipe } = context.model;
    const measured = context.words.sentiment.slice(5, 9);
    const start = Array.from(context.text.slice(0, 5)).filter((id) => id !== terrible.token);
    const said = { ids: [...start, terrible.token], twin: [...start, terrible.towards], pair: 0 };
    const unrelated = [context.text.slice(10, 18)];
    const evaluate = await patchEvaluator(context, { paraphrases: [said], unrelated, measured });
    const patch = patchOf(context.model, [{ ...terrible, strength: 1 }]);
    const found = await evaluate(patch, 0);
    const at = async (ids: ArrayLike<number>, options = {}) => {
      const { data, shape } = await model.forward(Int32Array.from(ids), options);
      return data.subarray(data.length - shape[2], data.length - shape[2] + recipe.rows);
    };
    const [before, after] = [await at(said.ids), await at(said.ids, { patch })];
    expect(found.paraphrases).toBeCloseTo(klDivergence(before, after), 6);
    expect(found.shift).toBeCloseTo(sentimentOf(after, measured) - sentimentOf(before, measured), 5);
    // At strength 1 the negative word has the recipe of the positive one.
    const twin = sentimentOf(await at(said.twin), measured);
    expect(found.shift).toBeCloseTo(twin - sentimentOf(before, measured), 5);
    expect(found.flipped).toBe(1);
    const divergence = await model.divergence(unrelated[0], { patch });
    const kl = divergence.reduce((sum, x) => sum + x, 0) / divergence.length;
    expect(Math.abs(found.unrelated - kl)).toBeLessThan(0.03 * kl + 1e-6);
    const nothing = await evaluate({ ...patch, edits: [] });
    expect(nothing).toEqual({ shift: 0, flipped: 0, paraphrases: 0, unrelated: 0 });
  });
});

test("no text of the claim contains an edited word or a replacement", () => {
  const edited = context.words.sentiment.filter((_, i) => i % 2 === 0);
  const measured = context.words.sentiment.filter((_, i) => i % 2 === 1);
  const { related, unrelated, bases } = textsOf(context, edited, measured);
  const inTexts = new Set([...related, ...unrelated].flatMap((ids) => Array.from(ids)));
  for (const { negative, positive } of edited)
    for (const { id } of [negative, positive]) expect(inTexts.has(id)).toBe(false);
  expect(related.length).toBe(6 * bases.length);
  const matches = frequencyMatchedWords(context, edited, [...related, ...unrelated])!;
  for (const id of matches.pool) expect(inTexts.has(id)).toBe(false);
  const random = new Random("draws");
  const drawn = Array.from({ length: 50 }, () => matches.draw(random));
  for (const draw of drawn) {
    const ids = draw.flatMap(({ token, towards }) => [token, towards]);
    expect(new Set(ids).size).toBe(2 * edited.length);
    for (const id of ids) expect(matches.pool).toContain(id);
  }
});

test("frequent words are replaced by frequent ones, rare words by rare ones", () => {
  const frequency = new Int32Array(context.model.recipe.rows);
  for (let id = 0; id < frequency.length; id++) frequency[id] = id;
  const words = { ...context.words, frequency };
  const word = (id: number) => ({ text: "", id, count: frequency[id] });
  const last = frequency.length - 1;
  const pairs = [{ negative: word(last), positive: word(260) }];
  const { pool, draw } = frequencyMatchedWords({ ...context, words }, pairs, [])!;
  const random = new Random("draws");
  for (let i = 0; i < 100; i++) {
    const [{ token, towards }] = draw(random);
    expect(pool.slice(-60)).toContain(token);
    expect(pool.slice(0, 60)).toContain(towards);
  }
});

test("at most one of 20 models at initialisation has a patch that acts on related text", {
  timeout: 60_000,
}, async () => {
  const ps: number[] = [];
  let held = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const at = await contextWith(backend, { seed, text: toyText(800, seed) });
    const { p, holds } = await claimOf(genes, { ...at, draws: { cheap: 440, forward: 440 } });
    ps.push(p);
    if (holds) held++;
  }
  expect(held).toBeLessThanOrEqual(1);
  // Roughly uniform: about one of 20 is below .05, and half are below .5.
  expect(ps.filter((p) => p < 0.05).length).toBeLessThanOrEqual(4);
  expect(ps.filter((p) => p < 0.5).length).toBeGreaterThan(3);
  expect(ps.filter((p) => p < 0.5).length).toBeLessThan(17);
});

test("patches of similar sentiment words are found to act on text with sentiment", async () => {
  const random = new Random("centre");
  const centre = Array.from({ length: 32 }, () => 0.06 * random.normal());
  const recipe = recipesOf(0.02, (row) => {
    for (const word of SENTIMENT.flat()) for (const [s, x] of centre.entries()) row(tokenOf(word))[s] += x;
  });
  const planted = await contextWith(backend, { values: { recipe: recipe.data } });
  const claim = await claimOf(genes, planted);
  expect(claim.holds).toBe(true);
  expect(claim.effect).toBeGreaterThan(0.7);
  expect(claim.interval![0]).toBeLessThanOrEqual(claim.effect);
});

test("the report shows sizes, undoing and nulls", async () => {
  const { figures, parameters } = await genes.run(context);
  expect(parameters.undone).toBe(true);
  const singles = figures.find(({ title }) => title === "Patches of one word") as Table;
  for (const [, bytes, edits, , , , , undone] of singles.rows) {
    expect(Number(bytes)).toBeGreaterThan(32 * 40);
    expect(edits).toBe(32);
    expect(undone).toBe("yes");
  }
  const { points } = figures.find(({ type }) => type === "scatter") as Scatter;
  expect(new Set(points.map(({ group }) => group))).toEqual(
    new Set(["patch", "opposite sign", "random words", "random signals"]),
  );
});

test("does not apply to models that cannot be patched; a short text yields a note", async () => {
  const other = (config: Parameters<typeof contextWith>[1]) => contextWith(backend, config);
  const twin = await other({ config: { variant: "gpt2-new", n_signals: undefined } });
  const topk = await other({ config: { variant: "reflow-topk", top_k: 4 } });
  expect(genes.inapplicable?.(twin)).toContain("no recipes");
  expect(genes.inapplicable?.(topk)).toContain("top-k");
  expect(genes.inapplicable?.(context)).toBeUndefined();
  const few = { ...context, words: { ...context.words, sentiment: [] } };
  expect(genes.inapplicable?.(few)).toContain("four pairs");
  const { claims, notes } = await genes.run(await other({ text: new Int32Array(5) }));
  expect(claims).toEqual([]);
  expect(notes.at(-1)).toContain("too short");
});
