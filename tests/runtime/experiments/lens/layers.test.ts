import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Heatmap, Lines, Table } from "../../../../runtime/experiments/framework/figure.ts";
import { layers } from "../../../../runtime/experiments/lens/layers.ts";
import { claimOf, contextWith, recipesOf, scaledIdentity } from "../planted-model.ts";
import { toyText } from "../toy-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

test("at initialisation the lens approaches the model's own answer, but not the next token of the text", async () => {
  const context = await contextWith(backend, { seed: 2, config: { n_layers: 4 } });
  const { p, effect, null: nothing } = await claimOf(layers, context);
  expect(p).toBeGreaterThan(0.01);
  expect(Math.abs(effect - nothing.mean)).toBeLessThan(4 * nothing.sd);
  const { figures } = await layers.run(context);
  const [kl, agreement] = figures.filter(({ type }) => type === "lines") as Lines[];
  const [{ x, y }] = kl.series;
  expect(x).toEqual([0, 0.25, 0.5, 0.75, 1]);
  expect(y[4]).toBe(0);
  for (let l = 1; l < 5; l++) expect(y[l]).toBeLessThan(y[l - 1]);
  expect(agreement.series[0].y[4]).toBe(1);
});

test("a model whose layers amplify the next token step by step is detected", async () => {
  // Each of 12 tokens in a cycle has its own signal and a shared one; every block adds the signal of the next token:
  // down(silu(gate)·up), where the shared signal opens the gate and up shifts signals by one.
  const circle = [...new Set(toyText(500))].slice(0, 12);
  const recipe = recipesOf(0.01, (row) => {
    for (let id = 0; id < 600; id++) row(id)[0] += 2;
    for (const [i, id] of circle.entries()) {
      row(id)[0] = 1;
      row(id)[1 + i] = 1;
    }
  });
  const gate = new Float32Array(32 * 32);
  const up = new Float32Array(32 * 32);
  for (let i = 0; i < 12; i++) {
    const next = 1 + ((i + 1) % 12);
    gate[next * 32] = 1;
    up[next * 32 + 1 + i] = 1;
  }
  const values: Record<string, Float32Array> = { recipe: recipe.data, basis: scaledIdentity(32, 1) };
  for (let l = 0; l < 4; l++) {
    values[`blocks.${l}.attn.o.weight`] = new Float32Array(32 * 32);
    values[`blocks.${l}.mlp.gate.weight`] = gate;
    values[`blocks.${l}.mlp.up.weight`] = up;
    values[`blocks.${l}.mlp.down.weight`] = scaledIdentity(32, 0.04);
  }
  const text = Int32Array.from({ length: 500 }, (_, i) => circle[i % 12]);
  const context = await contextWith(backend, { config: { n_layers: 4 }, values, text });
  const claim = await claimOf(layers, context);
  expect(claim.effect).toBeGreaterThan(2);
  expect(claim.holds).toBe(true);
  // Every next token counts once.
  const { parameters, figures } = await layers.run(context);
  expect(parameters.nextTokens).toBe(12);
  const [one] = figures.filter(({ title }) => title === "One sentence") as Heatmap[];
  expect(one.values.length).toBe(5);
  expect(one.values[4].every((kl) => kl === 0)).toBe(true);
  const predictions = figures.find(({ title }) => title === "Predictions of the lens") as Table;
  expect(predictions.rows.length).toBe(one.columns.length);
});

test("a text that is too short yields no claim and a note", async () => {
  const { claims, notes, figures } = await layers.run(
    await contextWith(backend, { text: new Int32Array(5) }),
  );
  expect(claims).toEqual([]);
  expect(notes[0]).toContain("nothing is claimed");
  expect(figures.length).toBe(2);
});
