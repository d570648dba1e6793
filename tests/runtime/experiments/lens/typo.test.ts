import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Lines } from "../../../../runtime/experiments/framework/figure.ts";
import { exchanged, misspell, typo } from "../../../../runtime/experiments/lens/typo.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { claimOf, contextWith, recipesOf, scaledIdentity } from "../planted-model.ts";
import { toyText, toyTokenizer, V } from "../toy-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

describe("misspell", () => {
  test("the b of abc is swapped with the c, dropped or doubled", () => {
    const random = new Random("m");
    expect(misspell("abc", "swapped", random)).toBe("acb");
    expect(misspell("abc", "dropped", random)).toBe("ac");
    expect(misspell("abc", "doubled", random)).toBe("abbc");
    // A doubled letter is not swapped with itself, and the first letter stays.
    expect(misspell("abb", "swapped", random)).toBeUndefined();
  });

  test("one letter is wrong, but never the first", () => {
    const words = fc.stringMatching(/^[a-e]{3,9}$/);
    fc.assert(
      fc.property(words, fc.nat(), (word, seed) => {
        const random = new Random(`${seed}`);
        const swapped = misspell(word, "swapped", random);
        const dropped = misspell(word, "dropped", random);
        const doubled = misspell(word, "doubled", random);
        for (const typo of [swapped, dropped, doubled]) {
          if (typo === undefined) continue;
          expect(typo).not.toBe(word);
          expect(typo[0]).toBe(word[0]);
        }
        if (swapped) expect([...swapped].sort()).toEqual([...word].sort());
        if (dropped) expect(dropped.length).toBe(word.length - 1);
        if (doubled) expect(doubled.replace(/(.)\1/g, "$1")).toBe(word.replace(/(.)\1/g, "$1"));
        if (doubled) expect(doubled.length).toBe(word.length + 1);
      }),
    );
  });
});

test("a null draw picks any variant of a position as its typo", () => {
  const values = exchanged([1, 10], [[2, 3], []], 600, new Random("e"));
  const [low, middle, high] = [5.5, 6, 6.5].map((x) => [...values].filter((value) => value === x).length);
  expect(low + middle + high).toBe(600);
  for (const count of [low, middle, high]) expect(Math.abs(count - 200)).toBeLessThan(60);
});

test("a model at initialisation does not distinguish typos from random words", async () => {
  const { p, effect, null: nothing, interval } = await claimOf(typo, await contextWith(backend, { seed: 3 }));
  expect(p).toBeGreaterThan(0.01);
  expect(Math.abs(effect - nothing.mean)).toBeLessThan(4 * nothing.sd);
  expect(interval![0]).toBeLessThan(effect);
  expect(interval![1]).toBeGreaterThan(effect);
});

test("a model that reads words by their letters is found to recover from typos", async () => {
  // A word is the sum of its letters, and attention sums its inputs: a typo is almost equivalent to its word.
  const tokens = Array.from({ length: V }, (_, id) => toyTokenizer.tokenText(id));
  const recipe = recipesOf(1, (row) => {
    for (const [id, token] of tokens.entries()) {
      if (!/^ [A-Za-z]{2,}$/.test(token)) continue;
      const sum = row(id).fill(0);
      for (const letter of token.slice(1)) {
        const of = row(toyTokenizer.encode(letter)[0]);
        for (let s = 0; s < sum.length; s++) sum[s] += of[s] / Math.sqrt(token.length - 1);
      }
    }
  });
  const values = {
    recipe: recipe.data,
    basis: scaledIdentity(32, 0.3),
    "blocks.0.attn.q.weight": new Float32Array(32 * 32),
    "blocks.0.attn.v.weight": scaledIdentity(32, 1),
    "blocks.0.attn.o.weight": scaledIdentity(32, 6),
    "blocks.0.mlp.down.weight": new Float32Array(32 * 32),
  };
  // Each word is repeated many times, so that a model that recognises it predicts what follows.
  const words = [...new Set(toyText(3000))].filter((id) => /^ [a-z]{5,9}$/.test(tokens[id]));
  const text = Int32Array.from(words.flatMap((id) => Array(26).fill(id)));
  const context = await contextWith(backend, { config: { context: 48 }, values, text });
  const claim = await claimOf(typo, context);
  expect(claim.effect).toBeLessThan(claim.null.mean);
  expect(claim.holds).toBe(true);

  const { figures, parameters } = await typo.run(context);
  expect(parameters.words).toBeGreaterThanOrEqual(8);
  const recovery = figures.find(({ type }) => type === "lines") as Lines;
  const after = (name: string) => recovery.series.find((series) => series.name === name)!.y.at(-1)!;
  expect(after("its typo")).toBeLessThan(after("a random word"));
});

test("a text without words yields no claim and a note", async () => {
  const { claims, notes } = await typo.run(await contextWith(backend, { text: new Int32Array(300) }));
  expect(claims).toEqual([]);
  expect(notes[0]).toContain("Only 0 words");
});
