import { describe, expect, test } from "bun:test";
import { blastRadius, movedNeighbours } from "../../../runtime/analysis/blast-radius.ts";
import type { Matrix } from "../../../runtime/math/matrix.ts";
import { largest, matrix, rowOf, unitRows } from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import { encodePatch } from "../../../runtime/patches/patch.ts";
import type { Analogy } from "../../../runtime/text/word-sets.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { dot } from "../interventions/support.ts";
import { SEA, setUpPatches, THE, WAS } from "../patches/support.ts";

const { model, config, patchOf } = await setUpPatches();
const { vocab_size: V, n_signals: S = 0 } = config;
const tokens = tinyTokenizer.vocabSize;

function randomTable(rows: number, seed: number): Matrix {
  const random = new Random(`${seed}`);
  return matrix(
    rows,
    8,
    Float32Array.from({ length: rows * 8 }, () => random.normal()),
  );
}

/** The nearest neighbours of a token in a table of unit rows, by exhaustive search. */
function nearest(unit: Matrix, id: number, top: number): number[] {
  const own = rowOf(unit, id);
  const cosines = Float64Array.from({ length: unit.rows }, (_, i) => {
    const row = rowOf(unit, i);
    let sum = 0;
    for (let s = 0; s < row.length; s++) sum += own[s] * row[s];
    return i === id ? -Infinity : sum;
  });
  return largest(cosines, top);
}

describe("moved neighbours", () => {
  // More rows than the sample holds, and fewer rows than neighbours.
  for (const [rows, top] of [
    [2500, 4],
    [30, 5],
    [4, 10],
  ]) {
    test(`equal those of an exhaustive comparison of ${rows} tokens`, async () => {
      const before = randomTable(rows, 1);
      const after = { ...before, data: before.data.slice() };
      const edited = [1, rows - 1];
      for (const id of edited) rowOf(after, id).set(rowOf(randomTable(rows, 2), id));
      const found = await movedNeighbours(model, { before, after, edited, top });
      const byId = new Map(found.map((each) => [each.id, each]));
      const [old, now] = [unitRows(before), unitRows(after)];
      for (let id = 0; id < rows; id += Math.ceil(rows / 100)) {
        if (edited.includes(id)) continue;
        const [was, is] = [nearest(old, id, top), nearest(now, id, top)];
        expect(byId.get(id)?.gained ?? []).toEqual(is.filter((each) => !was.includes(each)));
        expect(byId.get(id)?.lost ?? []).toEqual(was.filter((each) => !is.includes(each)));
      }
      if (rows > 4) expect(found.length).toBeGreaterThan(0);
      expect(await movedNeighbours(model, { before, after: before, edited: [], top })).toEqual([]);
    });
  }
});

describe("blast radius", () => {
  const recipe = model.tables().then(({ recipe }) => recipe.data);
  const row = async (id: number) => (await recipe).subarray(id * S, (id + 1) * S);
  /** A patch that gives a token the recipe of another. */
  const replaceBy = async (token: number, other: number) => {
    const [from, to] = [await row(token), await row(other)];
    return patchOf(...Array.from(to, (x, s): [number, number, number] => [token, s, x - from[s]]));
  };
  const word = (id: number) => ({ text: tinyTokenizer.tokenText(id), id, count: 0 });

  test("a token that takes the recipe of another becomes its nearest neighbour", async () => {
    const patch = await replaceBy(SEA, THE);
    const radius = await blastRadius(model, patch);
    expect(radius).toMatchObject({ bytes: encodePatch(patch).length, edits: S });
    expect(radius.edited.count).toBe(1);
    const [{ id, text, before, after }] = radius.edited.most;
    expect([id, text]).toEqual([SEA, " sea"]);
    const unit = async (id: number) => (await row(id)).map((x, _, r) => x / Math.sqrt(dot(r, r)));
    expect(before).toHaveLength(10);
    for (const near of before) {
      expect(near.cosine).toBeCloseTo(dot(await unit(SEA), await unit(near.id)), 5);
      expect(near.text).toBe(tinyTokenizer.tokenText(near.id));
    }
    expect(after[0]).toMatchObject({ id: THE, text: " the" });
    expect(after[0].cosine).toBeCloseTo(1, 6);
    // Tokens with `the` among their nearest now also have `sea`.
    const { moved, of, most } = radius.neighbours;
    expect(of).toBe(tokens - 1);
    expect(moved).toBeGreaterThan(0);
    expect(most.length).toBe(Math.min(20, moved));
    expect(most.find(({ id }) => id === THE)?.gained).toEqual([{ id: SEA, text: " sea" }]);
    expect(radius.divergence).toBeUndefined();
    expect(radius.analogies).toBeUndefined();
    expect(structuredClone(radius)).toEqual(JSON.parse(JSON.stringify(radius)));
  });

  test("the KL divergence compares the patched with the unpatched predictions", async () => {
    const patch = patchOf([SEA, 3, 2], [WAS, 1, -1]);
    const text = model.tokenize("the sea was the king and the queen of the sea");
    const { divergence } = await blastRadius(model, patch, { text });
    const [plain, patched] = [(await model.forward(text)).data, (await model.forward(text, { patch })).data];
    const softmax = (logits: Float32Array) => {
      const exps = Array.from(logits, Math.exp);
      const sum = exps.reduce((a, b) => a + b);
      return exps.map((x) => x / sum);
    };
    const kl = Array.from(text, (_, t) => {
      const [p, q] = [plain, patched].map((data) => softmax(data.subarray(t * V, (t + 1) * V)));
      return p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]), 0);
    });
    expect(divergence!.positions).toBe(text.length);
    expect(divergence!.mean).toBeCloseTo(kl.reduce((a, b) => a + b) / kl.length, 6);
    const order = kl.map((_, t) => t).sort((a, b) => kl[b] - kl[a]);
    expect(divergence!.worst.map(({ position }) => position)).toEqual(order.slice(0, 20));
    for (const { position, kl: found } of divergence!.worst) expect(found).toBeCloseTo(kl[position], 6);
  });

  test("analogies whose answer changes are listed", async () => {
    // With the patch, `was` equals `sea` − `the` + `and`, the answer to the first question.
    const [the, sea, and] = await Promise.all([THE, SEA, 266].map(row));
    const was = await row(WAS);
    const unit = (r: Float32Array) => r.map((x) => x / Math.sqrt(dot(r, r)));
    const sum = unit(sea).map((x, s) => x - unit(the)[s] + unit(and)[s]);
    const patch = patchOf(...Array.from(sum, (x, s): [number, number, number] => [WAS, s, x - was[s]]));
    const questions: Analogy[] = [
      [THE, SEA, 266, WAS],
      [THE, SEA, 270, 271],
    ].map((ids) => ids.map(word) as unknown as Analogy);
    const { analogies } = await blastRadius(model, patch, { analogies: questions });
    expect(analogies).toMatchObject({ asked: 2, right: { after: 1 } });
    expect(analogies!.changed[0]).toMatchObject({
      question: [THE, SEA, 266, WAS].map((id) => ({ id, text: tinyTokenizer.tokenText(id) })),
      after: { id: WAS, text: " was" },
    });
  });

  test("edited tokens are listed by the size of their change", async () => {
    const radius = await blastRadius(model, patchOf([SEA, 0, 0.1], [THE, 0, -2], [WAS, 3, 1]));
    expect(radius.edited.most.map(({ id }) => id)).toEqual([THE, WAS, SEA]);
    const all = Array.from({ length: tokens }, (_, id): [number, number, number] => [id, 2, 1 + id]);
    const { edited, neighbours } = await blastRadius(model, patchOf(...all));
    expect(edited.count).toBe(tokens);
    expect(edited.most.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, i) => tokens - 1 - i));
    expect(neighbours).toEqual({ top: 10, of: 0, moved: 0, most: [] });
  });

  test("a patch without effect reports no changes", async () => {
    const text = model.tokenize("the sea");
    const radius = await blastRadius(model, patchOf([SEA, 0, 0]), { text });
    expect(radius).toMatchObject({
      edited: { count: 0, most: [] },
      neighbours: { of: tokens, moved: 0, most: [] },
      divergence: { mean: 0 },
    });
  });
});
