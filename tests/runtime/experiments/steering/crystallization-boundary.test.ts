import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import type { Bars, Heatmap, Lines } from "../../../../runtime/experiments/framework/figure.ts";
import {
  boundaryOf,
  crystallization,
} from "../../../../runtime/experiments/steering/crystallization-boundary.ts";
import { claimOf, contextWith, scaledIdentity } from "../planted-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

test("the boundary is the depth at which half of the maximum remains", () => {
  const depths = [0.25, 0.5, 0.75, 1];
  expect(boundaryOf(depths, [4, 4, 1, 1])).toBeCloseTo(0.5 + 0.25 * (2 / 3), 12);
  expect(boundaryOf(depths, [1, 2, 3, 4])).toBe(1);
  expect(boundaryOf(depths, [0, 4, 3, 0])).toBeCloseTo(0.75 + 0.25 / 3, 12);
  expect(boundaryOf(depths, [0, 0, 0, 0])).toBe(0);
});

test("at initialisation it is never too late", async () => {
  const context = await contextWith(backend, { config: { n_layers: 4 } });
  const { p, holds } = await claimOf(crystallization, context);
  expect(holds).toBe(false);
  expect(p).toBeGreaterThan(0.01);
  const { figures } = await crystallization.run(context);
  const bars = figures.find(({ type }) => type === "bars") as Bars;
  expect(bars.bars.map(({ value }) => value)).toEqual([1, 1, 1]);
  const [, gains] = figures.filter(({ type }) => type === "heatmap") as Heatmap[];
  const lines = figures.find(({ type }) => type === "lines") as Lines;
  // Both figures show α = 1 at each depth.
  expect(lines.series[0].y).toEqual(gains.values.map((row) => row[2] as number));
  // After the first block, the constant push equals the relative one up to averaging over positions.
  expect(lines.series[1].y[0]).toBeCloseTo(lines.series[0].y[0], 1);
});

test("if each layer amplifies what all positions share, later pushes are found to do less", async () => {
  // Uniform attention adds the mean over positions: a push at every position grows, token-specific parts do not.
  const values: Record<string, Float32Array> = {};
  for (let l = 0; l < 4; l++) {
    values[`blocks.${l}.attn.q.weight`] = new Float32Array(32 * 32);
    values[`blocks.${l}.attn.v.weight`] = scaledIdentity(32, 0.1);
    values[`blocks.${l}.attn.o.weight`] = scaledIdentity(32, 0.5);
  }
  const context = await contextWith(backend, { config: { n_layers: 4 }, values });
  const claim = await claimOf(crystallization, context);
  expect(claim.effect).toBeGreaterThan(0);
  expect(claim.holds).toBe(true);
});

test("does not apply to a model with one layer", async () => {
  const context = await contextWith(backend);
  expect(crystallization.inapplicable?.(context)).toContain("one layer");
});
