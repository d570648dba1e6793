import { expect, test } from "bun:test";
import { principal } from "../../../runtime/math/eigen.ts";
import { neighbours } from "../../../runtime/math/neighbours.ts";
import { principalPlane } from "../../../runtime/math/principal-plane.ts";
import { Model } from "../../../runtime/model/model.ts";
import { Lexicon } from "../../../runtime/signals/lexicon.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { combine, dot, norm, SEA, setUp, THE, WAS } from "../interventions/support.ts";

test("a token lists its row of R, largest weights first", async () => {
  const { model, row } = await setUp();
  const lexicon = await Lexicon.of(model);
  const recipe = row("recipe", SEA);
  const { id, text, length, recipe: listed } = lexicon.token(lexicon.find(" sea"), { count: 3 });
  expect([id, text]).toEqual([SEA, " sea"]);
  expect(length).toBeCloseTo(norm(recipe), 5);
  const order = [...recipe.keys()].sort((a, b) => Math.abs(recipe[b]) - Math.abs(recipe[a]));
  expect(listed.map(({ signal }) => signal)).toEqual(order.slice(0, 3));
  for (const { signal, weight } of listed) expect(weight).toBeCloseTo(recipe[signal], 6);
});

test("a signal lists both ends of its column, excluding padding", async () => {
  const { model, row } = await setUp();
  const lexicon = await Lexicon.of(model);
  const column = Array.from({ length: 290 }, (_, id) => row("recipe", id)[5]);
  const order = [...column.keys()].sort((a, b) => column[b] - column[a]);
  const { most, least, used, written, unit } = lexicon.signal(5, { count: 4 });
  expect(most.map(({ id }) => id)).toEqual(order.slice(0, 4));
  expect(least.map(({ id }) => id)).toEqual(order.toReversed().slice(0, 4));
  expect(used).toBeCloseTo(norm(column), 4);
  expect(written!).toBeCloseTo(norm(row("basis", 5)), 5);
  expect(unit).toBe("signal");
});

test("neighbours are nearest in recipe space or in embedding space", async () => {
  const { model, values, config, row } = await setUp();
  const lexicon = await Lexicon.of(model);
  const S = config.n_signals!;
  const expected = neighbours(values.get("recipe")!, S, { id: SEA, rows: 290, count: 5 });
  const found = await lexicon.neighbours(SEA, { count: 5 });
  expect(found.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
  expect(found[0].cosine).toBeCloseTo(expected[0].cosine, 5);

  const embed = (id: number) =>
    combine(...row("recipe", id).map((r, s) => [r, row("basis", s)] as [number, number[]]));
  const e = embed(SEA);
  const [nearest] = await lexicon.neighbours(SEA, { space: "embedding", count: 1 });
  const other = embed(nearest.id);
  expect(nearest.cosine).toBeCloseTo(dot(e, other) / (norm(e) * norm(other)), 4);
});

test("the rows of a patch replace those of the model", async () => {
  const { inner, row } = await setUp();
  const model = new Model({ ...inner, checkpoint: "0".repeat(64) }, tinyTokenizer);
  const patch = await model.createPatch('" sea" += 0.5 * " was"');
  const [own, patched] = [await Lexicon.of(model), await Lexicon.of(model, { patch })];
  const sum = combine([1, row("recipe", SEA)], [0.5, row("recipe", WAS)]);
  const all = { count: sum.length };
  for (const { signal, weight } of patched.token(SEA, all).recipe) expect(weight).toBeCloseTo(sum[signal], 5);
  expect(patched.token(THE)).toEqual(own.token(THE));
  const cosineOf = async (lexicon: Lexicon) =>
    (await lexicon.neighbours(WAS, { count: 289 })).find(({ id }) => id === SEA)!.cosine;
  const was = row("recipe", WAS);
  expect(await cosineOf(patched)).toBeCloseTo(dot(sum, was) / (norm(sum) * norm(was)), 5);
  expect(await cosineOf(own)).not.toBeCloseTo(await cosineOf(patched), 2);
});

test("arithmetic excludes the terms of the sum", async () => {
  const { model, row } = await setUp();
  const lexicon = await Lexicon.of(model);
  const { terms, nearest } = await lexicon.algebra("sea - 0.5 * was", { count: 290 });
  expect(terms.map(({ id, coefficient }) => [id, coefficient])).toEqual([
    [SEA, 1],
    [WAS, -0.5],
  ]);
  expect(nearest).toHaveLength(288);
  const sum = combine([1, row("recipe", SEA)], [-0.5, row("recipe", WAS)]);
  const the = row("recipe", THE);
  const { cosine } = nearest.find(({ id }) => id === THE)!;
  expect(cosine).toBeCloseTo(dot(sum, the) / (norm(sum) * norm(the)), 5);
  expect(lexicon.algebra("sea - sea")).rejects.toThrow("adds up to zero");
});

test("in an unfactored model, dimensions take the place of signals", async () => {
  const { model } = await setUp("gpt2-new");
  const lexicon = await Lexicon.of(model);
  const { unit, written } = lexicon.signal(0);
  expect([unit, written]).toEqual(["dimension", undefined]);
  const both = ["recipe", "embedding"] as const;
  const [a, b] = await Promise.all(both.map((space) => lexicon.neighbours(SEA, { space })));
  expect(a).toEqual(b);
});

test("unknown tokens and signals are rejected", async () => {
  const { model, config } = await setUp();
  const lexicon = await Lexicon.of(model);
  expect(() => lexicon.token(290)).toThrow("token is 290: expected one of 290 tokens");
  expect(() => lexicon.signal(config.n_signals!)).toThrow("signal is");
  expect(() => lexicon.find("king queen")).toThrow("tokens");
  expect(lexicon.neighbours(-1)).rejects.toThrow("token is -1");
});

test("the map shows only words, projected from their unit recipes", async () => {
  const { model } = await setUp();
  const { points, shares } = await (await Lexicon.of(model)).map({ count: 8 });
  expect(points).toHaveLength(8);
  for (const { text } of points) expect(text).toMatch(/^ [a-z]{2,}$/);
  for (const { x, y } of points) expect(Math.hypot(x, y)).toBeLessThan(2);
  expect(shares[0]).toBeGreaterThanOrEqual(shares[1]);
});

test("the principal plane equals that of an eigenvalue decomposition", async () => {
  const [n, C] = [30, 6];
  // The spreads 6, 5, … 1 differ enough for the iteration to converge.
  const rows = Float32Array.from({ length: n * C }, (_, at) => (C - (at % C)) * Math.sin(at * at + 1));
  const exact = principal({ rows: n, columns: C, data: rows.slice() }, 2);
  const { coordinates, shares } = await principalPlane(rows.slice(), C);
  for (let i = 0; i < 2 * n; i++)
    expect(Math.abs(coordinates[i])).toBeCloseTo(Math.abs(exact.coordinates[i]), 2);
  expect(shares[0]).toBeCloseTo(exact.shares[0], 4);
  expect(shares[1]).toBeCloseTo(exact.shares[1], 4);
});
