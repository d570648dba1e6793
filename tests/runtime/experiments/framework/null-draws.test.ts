import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../../runtime/backend/wasm/mod.ts";
import {
  coordinateDraws,
  randomMixture,
  randomOrthogonal,
  rotations,
} from "../../../../runtime/experiments/framework/null-draws.ts";
import { gram, singularValues } from "../../../../runtime/math/eigen.ts";
import { dot, type Matrix, matrix, multiply, rowOf } from "../../../../runtime/math/matrix.ts";
import { Random } from "../../../../runtime/math/random.ts";
import { mean } from "../../../../runtime/math/statistics.ts";
import { assertClose } from "../../../support/compare.ts";
import { toyConfig, toyContext, toyModel, V } from "../toy-model.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

function gaussian(rows: number, columns: number): Matrix {
  const random = new Random("g");
  return matrix(
    rows,
    columns,
    Float32Array.from({ length: rows * columns }, () => random.normal()),
  );
}

describe("null draws", () => {
  test("rotations preserve products of rows, differ, and have no preferred direction", async () => {
    const context = await toyContext(await toyModel(backend));
    const x = gaussian(4, 16);
    const draws: Matrix[] = [];
    for await (const rotated of rotations(context, x, 40, new Random("r"))) draws.push(rotated);
    expect(draws.length).toBe(40);
    for (const rotated of draws)
      assertClose(gram(rotated).values, gram(x).values, { relative: 1e-5 }, "gram");
    // Two draws are as different as two random vectors: their cosines have mean 0 and variance 1/16.
    const between: number[] = [];
    for (const [i, a] of draws.entries()) {
      for (const b of draws.slice(0, i)) {
        const length = dot(rowOf(x, 0), rowOf(x, 0));
        between.push(dot(rowOf(a, 0), rowOf(b, 0)) / length);
      }
    }
    expect(Math.abs(mean(between))).toBeLessThan(0.04);
    expect(16 * mean(between.map((c) => c * c))).toBeCloseTo(1, 0.7);
  });

  test("draws for reflow-topk are new recipes with k positive entries", async () => {
    const model = await toyModel(backend, { config: toyConfig({ variant: "reflow-topk", top_k: 4 }) });
    const context = await toyContext(model);
    for await (const drawn of coordinateDraws(context, matrix(6, 32), 3, new Random("t"))) {
      for (let i = 0; i < 6; i++) {
        const row = Array.from(rowOf(drawn, i));
        expect(row.filter((value) => value > 0).length).toBe(4);
        expect(row.filter((value) => value === 0).length).toBe(28);
      }
    }
  });

  test("a random mixture has the given singular values", async () => {
    const model = await toyModel(backend);
    for (const [S, d] of [
      [7, 4],
      [4, 7],
    ]) {
      const mixed = await randomMixture(model, matrix(S, d), [4, 3, 2, 1], new Random("m"));
      expect([mixed.rows, mixed.columns]).toEqual([S, d]);
      const { values, n } = gram(mixed);
      assertClose(singularValues(values, n), [4, 3, 2, 1], { relative: 1e-6 }, "singular values");
    }
  });

  test("R·Q, Qᵀ·B is the same model", async () => {
    const config = toyConfig();
    const model = await toyModel(backend, { config, seed: 3 });
    const { recipe, basis } = await model.tables();
    const q = randomOrthogonal(32, new Random("Q"));
    const table = ({ shape, data }: { shape: readonly number[]; data: Float32Array }) =>
      matrix(shape[0], shape[1], data);
    const rotated = {
      recipe: (await multiply(model, table(recipe), q)).data,
      basis: (await multiply(model, q, table(basis!), { transA: true })).data,
    };
    const other = await toyModel(backend, { config, seed: 3, values: rotated });
    const ids = Int32Array.from({ length: 20 }, (_, i) => (37 * i) % V);
    const [before, after] = [await model.forward(ids), await other.forward(ids)];
    assertClose(after.data, before.data, { relative: 1e-5 }, "logits");
    expect(after.data).not.toEqual(before.data);
  });
});
