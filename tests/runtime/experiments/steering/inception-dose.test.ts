import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Table } from "../../../../runtime/experiments/framework/figure.ts";
import {
  conceptsOf,
  inception,
  margin,
  signChanges,
  smallestPush,
} from "../../../../runtime/experiments/steering/inception-dose.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { CATEGORIES } from "../../../../runtime/text/word-lists.ts";
import { claimOf, contextWith, recipesOf, tokenOf } from "../planted-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

describe("measuring a push", () => {
  test("the margin is that of the best target logit, ignoring excluded tokens", () => {
    const logits = Float32Array.of(1, 5, 3, 4);
    expect(margin(logits, { targets: [2], excluded: [] })).toBe(-2);
    expect(margin(logits, { targets: [2], excluded: [1] })).toBe(-1);
    expect(margin(logits, { targets: [0, 3], excluded: [1] })).toBe(1);
  });

  test("sign changes are interpolated linearly over log α", () => {
    const [ahead, behind] = signChanges([1, 2, 8], [-1, 1, -1]);
    expect(ahead).toEqual({ alpha: Math.SQRT2, to: "ahead" });
    expect(behind.alpha).toBeCloseTo(4, 12);
    expect(behind.to).toBe("behind");
    expect(signChanges([1, 2, 4], [-3, 1, 1])).toEqual([{ alpha: 2 ** 0.75, to: "ahead" }]);
    expect(signChanges([1, 2], [1, -1]).map(({ to }) => to)).toEqual(["ahead", "behind"]);
  });

  test("the smallest push is the first that suffices; 64 stands for none", () => {
    expect(smallestPush([1, 2, 8], [-1, 1, -1])).toBe(Math.SQRT2);
    expect(smallestPush([1, 2], [1, 1])).toBe(1);
    expect(smallestPush([1, 2], [-1, -1])).toBe(64);
  });

  test("half of a category's words define the direction, the others are the targets", () => {
    const word = (id: number) => ({ text: `${id}`, id, count: 0 });
    const [one, ...none] = conceptsOf([
      { name: "a", words: [1, 2, 3, 4, 5].map(word) },
      { name: "b", words: [6, 7, 8].map(word) },
    ]);
    expect(none).toEqual([]);
    expect(one.from.map(({ id }) => id)).toEqual([1, 3, 5]);
    expect(one.targets).toEqual([2, 4]);
    expect(one.excluded).toEqual([1, 3, 5]);
  });
});

test("at initialisation a word's own embedding suffices, since the table is tied; other words of its concept do not", async () => {
  const context = await contextWith(backend, { seed: 2 });
  const { p } = await claimOf(inception, context);
  expect(p).toBeGreaterThan(0.01);
  const { figures } = await inception.run(context);
  const words = figures.find(({ type }) => type === "table") as Table;
  for (const [, alpha, changes] of words.rows) {
    expect(alpha).toBeLessThan(4);
    expect(changes).toStartWith("ahead from");
  }
  // Except for a word at the end of a prompt, which is the likeliest token without a push.
  const far = words.rows.filter(([, , , random]) => Number(random) > 32);
  expect(far.length).toBeGreaterThanOrEqual(words.rows.length - 2);
});

test("concepts with similar words are found to need smaller pushes", async () => {
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
