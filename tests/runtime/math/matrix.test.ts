import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { gram } from "../../../runtime/math/eigen.ts";
import {
  cosines,
  dot,
  keepLargest,
  largest,
  type Matrix,
  matrix,
  multiply,
  pick,
  rowOf,
  transposed,
  unitRows,
} from "../../../runtime/math/matrix.ts";
import { Random } from "../../../runtime/math/random.ts";
import { assertClose } from "../../support/compare.ts";
import { toyModel } from "../experiments/toy-model.ts";
import { matrixOf } from "./support.ts";

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

function gaussian(rows: number, columns: number, key = "g"): Matrix {
  const random = new Random(key);
  return matrix(
    rows,
    columns,
    Float32Array.from({ length: rows * columns }, () => random.normal()),
  );
}

describe("matrices", () => {
  test("rows, transposes and cosines match values computed by hand", async () => {
    const model = await toyModel(backend);
    const a = matrixOf([3, 4], [0, 0], [1, 0]);
    expect(Array.from(pick(a, [2, 0]).data)).toEqual([1, 0, 3, 4]);
    expect(Array.from(transposed(a).data)).toEqual([3, 0, 1, 4, 0, 0]);
    assertClose(unitRows(a).data, [0.6, 0.8, 0, 0, 1, 0], { relative: 1e-6 }, "unit rows");
    const { data } = await cosines(model, a, matrixOf([4, 3], [-2, 0]));
    assertClose(data, [0.96, -0.6, 0, 0, 0.8, -1], { relative: 1e-6 }, "cosines");
  });

  test("products on the device support more rows than one block and transposed operands", async () => {
    const model = await toyModel(backend);
    const [a, b] = [gaussian(4099, 3), gaussian(3, 2, "b")];
    const product = await multiply(model, a, b);
    expect([product.rows, product.columns]).toEqual([4099, 2]);
    for (const row of [0, 4095, 4096, 4098]) {
      const by = [0, 1].map((j) =>
        dot(
          rowOf(a, row),
          [0, 1, 2].map((k) => b.data[2 * k + j]),
        ),
      );
      assertClose(rowOf(product, row), by, { relative: 1e-5, absolute: 1e-5 }, `row ${row}`);
    }
    const same = await multiply(model, a, transposed(b), { transB: true });
    assertClose(same.data, product.data, { relative: 1e-6 }, "transB");
    const products = await multiply(model, a, a, { transA: true });
    assertClose(products.data, gram(a).values, { relative: 1e-5 }, "transA");
  });

  test("largest returns indices in descending order of value, ties by position", () => {
    expect(largest([1, 5, 3, 5, 0], 3)).toEqual([1, 3, 2]);
    expect(largest([1, 2], 5)).toEqual([1, 0]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 })), fc.integer({ min: 1, max: 9 }), (values, k) => {
        const sorted = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
        expect(largest(values, k)).toEqual(sorted.slice(0, k));
      }),
    );
  });

  test("keepLargest keeps k entries of largest magnitude with their signs", () => {
    expect(Array.from(keepLargest(matrixOf([1, -3, 2, 0.5], [2, -2, 2, 2]), 2).data)).toEqual([
      0, -3, 2, 0, 2, -2, 0, 0,
    ]);
    expect(Array.from(keepLargest(matrixOf([0, -3]), 5).data)).toEqual([0, -3]);
  });
});
