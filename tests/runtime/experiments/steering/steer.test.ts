import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Heatmap, Table } from "../../../../runtime/experiments/framework/figure.ts";
import { type SentimentPair, sentimentOf } from "../../../../runtime/experiments/passes/sentiment.ts";
import { steer } from "../../../../runtime/experiments/steering/steer.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { SENTIMENT } from "../../../../runtime/text/word-lists.ts";
import { claimOf, contextWith, recipesOf, tokenOf } from "../planted-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

test("sentiment is the log-odds of positive against negative words, mean over pairs", () => {
  const word = (id: number) => ({ text: "", id, count: 0 });
  const pairs: SentimentPair[] = [
    { negative: word(0), positive: word(1) },
    { negative: word(2), positive: word(3) },
  ];
  expect(sentimentOf(Float32Array.of(1, 4, 2, 1), pairs)).toBe(1); // (3 − 1)/2
});

test("at initialisation an expression moves other words no further than random directions", async () => {
  const { p, effect, null: nothing } = await claimOf(steer, await contextWith(backend, { seed: 2 }));
  expect(p).toBeGreaterThan(0.01);
  expect(Math.abs(effect - nothing.mean)).toBeLessThan(4 * nothing.sd);
});

test("a direction shared by positive words is found to carry sentiment, with either sign", async () => {
  const random = new Random("axis");
  const axis = Float32Array.from({ length: 32 }, () => 0.02 * random.normal());
  const recipe = recipesOf(0.02, (row) => {
    for (const words of SENTIMENT) {
      for (const [i, word] of words.entries()) {
        const of = row(tokenOf(word));
        for (let s = 0; s < 32; s++) of[s] += (i === 0 ? -1 : 1) * axis[s];
      }
    }
  });
  const context = await contextWith(backend, { config: { n_layers: 3 }, values: { recipe: recipe.data } });
  const claim = await claimOf(steer, context);
  expect(claim.holds).toBe(true);
  expect(claim.effect).toBeGreaterThan(0);

  const { figures, notes } = await steer.run(context);
  const treatments = figures.find(({ title }) => title === "Treatments") as Table;
  const rowsOf = (method: string) => treatments.rows.filter(([name]) => name === method);
  const [[, , , shift, , cost]] = rowsOf("default");
  expect([shift, cost]).toEqual([0, 0]);
  for (const row of rowsOf("opposite sign")) expect(row[3]).toBeLessThan(0);
  for (const row of rowsOf("expression")) expect(row[3]).toBeGreaterThan(0);
  const expressions = rowsOf("expression").filter(([, layers]) => layers === "depth 0–0.38");
  expect(expressions.map(([, , strength]) => strength)).toEqual([0.25, 0.5, 1, 2, 4]);
  expect(expressions[4][5]).toBeGreaterThan(Number(expressions[0][5]));
  expect(rowsOf("difference of means").length).toBe(0); // There are neither sentences nor openings.
  expect(rowsOf("prompting").length).toBe(1);
  const map = figures.find(({ type }) => type === "heatmap") as Heatmap;
  expect(map.values[0][2]).toBeCloseTo(claim.effect, 5);

  const texts = figures.find(({ title }) => title.startsWith("Default and steered")) as Table;
  expect(texts.rows.length).toBe(4);
  // Steering words and measured words are different.
  expect(notes[1]).toContain("Steered along great + ");
  expect(notes[1]).toContain("bad/good");
});

test("labelled sentences yield a difference of means", async () => {
  const context = await contextWith(backend, { seed: 5 });
  const sentences = [
    { text: "good house", positive: true },
    { text: "bad stone", positive: false },
  ];
  const { figures } = await steer.run({ ...context, words: { ...context.words, sentences } });
  const treatments = figures.find(({ title }) => title === "Treatments") as Table;
  expect(treatments.rows.filter(([method]) => method === "difference of means").length).toBe(5);
});

test("does not apply with too few sentiment words", async () => {
  const context = await contextWith(backend);
  const words = { ...context.words, sentiment: context.words.sentiment.slice(0, 3) };
  expect(steer.inapplicable?.({ ...context, words })).toContain("fewer than four pairs");
});
