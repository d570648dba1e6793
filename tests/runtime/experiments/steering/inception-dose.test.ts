import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Table } from "../../../../runtime/experiments/framework/figure.ts";
import {
  conceptsOf,
  inception,
  margin,
  signChanges,
  smallest,
} from "../../../../runtime/experiments/steering/inception-dose.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { CATEGORIES } from "../../../../runtime/text/word-lists.ts";
import { claimOf, contextWith, recipesOf, tokenOf } from "../planted-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

describe("how a push is read", () => {
  test("the margin is that of the best wanted logit, those aside not counted", () => {
    const logits = Float32Array.of(1, 5, 3, 4);
    expect(margin(logits, { wanted: [2], aside: [] })).toBe(-2);
    expect(margin(logits, { wanted: [2], aside: [1] })).toBe(-1);
    expect(margin(logits, { wanted: [0, 3], aside: [1] })).toBe(1);
  });

  test("changes of sign lie on a straight line over log α", () => {
    const [ahead, behind] = signChanges([1, 2, 8], [-1, 1, -1]);
    expect(ahead).toEqual({ alpha: Math.SQRT2, to: "ahead" });
    expect(behind.alpha).toBeCloseTo(4, 12);
    expect(behind.to).toBe("behind");
    expect(signChanges([1, 2, 4], [-3, 1, 1])).toEqual([{ alpha: 2 ** 0.75, to: "ahead" }]);
    expect(signChanges([1, 2], [1, -1]).map(({ to }) => to)).toEqual(["ahead", "behind"]);
  });

  test("the smallest push is the first that is enough; 64 stands for none", () => {
    expect(smallest([1, 2, 8], [-1, 1, -1])).toBe(Math.SQRT2);
    expect(smallest([1, 2], [1, 1])).toBe(1);
    expect(smallest([1, 2], [-1, -1])).toBe(64);
  });

  test("half of a category's words make the direction, the others are asked for", () => {
    const word = (id: number) => ({ text: `${id}`, id, count: 0 });
    const [one, ...none] = conceptsOf([
      { name: "a", words: [1, 2, 3, 4, 5].map(word) },
      { name: "b", words: [6, 7, 8].map(word) },
    ]);
    expect(none).toEqual([]);
    expect(one.from.map(({ id }) => id)).toEqual([1, 3, 5]);
    expect(one.wanted).toEqual([2, 4]);
    expect(one.aside).toEqual([1, 3, 5]);
  });
});

test("at initialisation a word's own embedding is enough, since the table is tied; a concept's other words aren't", async () => {
  const context = await contextWith(backend, { seed: 2 });
  const { p } = await claimOf(inception, context);
  expect(p).toBeGreaterThan(0.01);
  const { figures } = await inception.run(context);
  const words = figures.find(({ type }) => type === "table") as Table;
  for (const [, alpha, changes] of words.rows) {
    expect(alpha).toBeLessThan(4);
    expect(changes).toStartWith("ahead from");
  }
  // But for a word that a prompt ends in, which is the likeliest as it is.
  const far = words.rows.filter(([, , , random]) => Number(random) > 32);
  expect(far.length).toBeGreaterThanOrEqual(words.rows.length - 2);
});

test("concepts whose words are alike are found to need smaller pushes", async () => {
  const random = new Random("centres");
  const recipe = recipesOf(0.02, (row) => {
    for (const words of Object.values(CATEGORIES)) {
      const centre = Array.from({ length: 32 }, () => 0.03 * random.normal());
      for (const word of words) for (const [s, x] of centre.entries()) row(tokenOf(word))[s] += x;
    }
  });
  const context = await contextWith(backend, { config: { n_layers: 3 }, values: { recipe: recipe.data } });
  const claim = await claimOf(inception, context);
  expect(claim.holds).toBe(true);
  expect(claim.effect).toBeLessThan(claim.null.mean / 4);
  expect(claim.null.draws).toBe(440);
  const { parameters } = await inception.run(context);
  expect(parameters).toMatchObject({ block: 1, concepts: 10 });
});
