import assert from "node:assert/strict";
import { test } from "node:test";
import { outerStep } from "../../../trainer/distributed/diloco.ts";

const f32 = (...values: number[]) => Float32Array.from(values);

/** Σ_r (θ − θ_r) */
const driftOf = (weights: Float32Array, ranks: Float32Array[]) =>
  weights.map((x, i) => ranks.reduce((sum, rank) => sum + (x - rank[i]), 0));

test("two outer steps of Nesterov momentum, worked by hand", () => {
  const weights = f32(1, 2);
  const velocity = f32(0, 0);
  const options = { world: 2, lr: 0.5, momentum: 0.5 };
  // The ranks move to (0, 3) and (0.5, 2): Δ = (0.75, −0.5) = u; Δ + u/2 = (1.125, −0.75).
  outerStep(weights, velocity, driftOf(weights, [f32(0, 3), f32(0.5, 2)]), options);
  assert.deepEqual([...velocity], [0.75, -0.5]);
  assert.deepEqual([...weights], [1 - 0.5625, 2 + 0.375]);
  // Then both stay: Δ = 0 and u = (0.375, −0.25), so the weights move by lr·μ·u = u/4.
  outerStep(weights, velocity, f32(0, 0), options);
  assert.deepEqual([...velocity], [0.375, -0.25]);
  assert.deepEqual([...weights], [0.4375 - 0.09375, 2.375 + 0.0625]);
});

test("with lr 1 and no momentum, an outer step averages the weights", () => {
  const weights = f32(1, -2, 0.5);
  const ranks = [f32(0.5, -1, 0.5), f32(1.5, -4, 1), f32(1, -1, 0), f32(0, -4, 1.5)];
  outerStep(weights, f32(0, 0, 0), driftOf(weights, ranks), { world: 4, lr: 1, momentum: 0 });
  assert.deepEqual([...weights], [0.75, -2.5, 0.75]);
});
