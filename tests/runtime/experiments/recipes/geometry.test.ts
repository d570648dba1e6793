import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import { randomOrthogonal } from "../../../../runtime/experiments/framework/null-draws.ts";
import { coherence } from "../../../../runtime/experiments/recipes/geometry.ts";
import { type Matrix, matrix, multiply } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { toyModel } from "../toy-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const of = (...rows: number[][]): Matrix =>
  matrix(rows.length, rows[0].length, Float32Array.from(rows.flat()));

function gaussian(rows: number, columns: number): Matrix {
  const random = new Random("g");
  return matrix(
    rows,
    columns,
    Float32Array.from({ length: rows * columns }, () => random.normal()),
  );
}

test("coherence is 1/n for orthogonal rows, 1 for parallel rows, and invariant under rotation", async () => {
  expect(coherence(of([1, 0], [0, 1]))).toBeCloseTo(0.5, 12);
  expect(coherence(of([1, 1], [2, 2]))).toBeCloseTo(1, 12);
  // Lengths² 1 and 2, product 1: (1 + 4 + 1 + 1)/9
  expect(coherence(of([1, 0], [1, 1]))).toBeCloseTo(7 / 9, 12);
  const rows = gaussian(8, 5);
  const model = await toyModel(backend);
  const rotated = await multiply(model, randomOrthogonal(8, new Random("q")), rows);
  expect(coherence(rotated)).toBeCloseTo(coherence(rows), 6);
});
