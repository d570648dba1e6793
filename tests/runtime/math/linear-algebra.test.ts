import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import { assign } from "../../../runtime/math/assignment.ts";
import { effectiveRank, eigen, gram, principal, singularValues } from "../../../runtime/math/eigen.ts";
import type { Matrix } from "../../../runtime/math/matrix.ts";
import {
  cosines,
  dot,
  keepLargest,
  largest,
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

let backend: Backend;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
});
afterAll(() => backend.dispose());

const of = (...rows: number[][]): Matrix =>
  matrix(rows.length, rows[0].length, Float32Array.from(rows.flat()));

function gaussian(rows: number, columns: number, key = "g"): Matrix {
  const random = new Random(key);
  return matrix(
    rows,
    columns,
    Float32Array.from({ length: rows * columns }, () => random.normal()),
  );
}

describe("matrices", () => {
  test("rows, transpose, cosines", async () => {
    const model = await toyModel(backend);
    const a = of([3, 4], [0, 0], [1, 0]);
    expect(Array.from(pick(a, [2, 0]).data)).toEqual([1, 0, 3, 4]);
    expect(Array.from(transposed(a).data)).toEqual([3, 0, 1, 4, 0, 0]);
    assertClose(unitRows(a).data, [0.6, 0.8, 0, 0, 1, 0], { relative: 1e-6 }, "unit rows");
    const { data } = await cosines(model, a, of([4, 3], [-2, 0]));
    assertClose(data, [0.96, -0.6, 0, 0, 0.8, -1], { relative: 1e-6 }, "cosines");
  });

  test("products on the device: more rows than one batch, and transposed operands", async () => {
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

  test("largest: in descending order, ties by position", () => {
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
    expect(Array.from(keepLargest(of([1, -3, 2, 0.5], [2, -2, 2, 2]), 2).data)).toEqual([
      0, -3, 2, 0, 2, -2, 0, 0,
    ]);
    expect(Array.from(keepLargest(of([0, -3]), 5).data)).toEqual([0, -3]);
  });
});

describe("spectra", () => {
  test("a worked 2×2 matrix", () => {
    const { values, vectors } = eigen([2, 1, 1, 2], 2, { vectors: true });
    expect(values[0]).toBeCloseTo(3, 12);
    expect(values[1]).toBeCloseTo(1, 12);
    expect(Math.abs(vectors![0])).toBeCloseTo(Math.SQRT1_2, 12);
    expect(vectors![0]).toBeCloseTo(vectors![1], 12);
  });

  test("eigenvectors are orthonormal and A·v = λ·v, even for repeated and zero eigenvalues", () => {
    const size = fc.integer({ min: 1, max: 12 });
    fc.assert(
      fc.property(
        size,
        fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 144, maxLength: 144 }),
        (n, x) => {
          const a = Float64Array.from({ length: n * n }, (_, at) => {
            const [i, j] = [Math.floor(at / n), at % n].sort((p, q) => p - q);
            return x[i * 12 + j];
          });
          const { values, vectors } = eigen(a, n, { vectors: true });
          const v = (i: number) => vectors!.subarray(i * n, (i + 1) * n);
          for (let i = 0; i < n; i++) {
            for (let r = 0; r < n; r++) {
              expect(Math.abs(dot(a.subarray(r * n, (r + 1) * n), v(i)) - values[i] * v(i)[r])).toBeLessThan(
                1e-10,
              );
            }
            for (let j = 0; j <= i; j++) expect(dot(v(i), v(j))).toBeCloseTo(i === j ? 1 : 0, 10);
            if (i > 0) expect(values[i]).toBeLessThanOrEqual(values[i - 1]);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("singular values of orthogonal columns are their lengths, for tall and wide matrices", () => {
    for (const table of [of([3, 0], [0, 0], [0, 4], [0, 0]), of([3, 0, 0, 0], [0, 0, 4, 0])]) {
      const { values, n } = gram(table);
      assertClose(singularValues(values, n), [4, 3], { relative: 1e-12 }, "singular values");
    }
  });

  test("effective rank: 3 for three equal values, 1 for one, exp of the entropy for ¾ and ¼", () => {
    expect(effectiveRank([2, 2, 2])).toBeCloseTo(3, 12);
    expect(effectiveRank([5, 0, 0])).toBe(1);
    expect(effectiveRank([3, 1])).toBeCloseTo(4 / 3 ** 0.75, 12);
  });

  test("principal components of points on a line that misses the origin", () => {
    const { coordinates, shares } = principal(of([1, 5], [4, 9], [-2, 1]), 2);
    // Along (3,4)/5 from (1,5): 0, 5, −5. The largest coordinate is positive.
    assertClose(coordinates, [0, 0, 5, 0, -5, 0], { relative: 1e-7 }, "coordinates");
    expect(shares[0]).toBeCloseTo(1, 10);
  });
});

describe("assignment", () => {
  test("a worked case in which the first row does not get its best column", () => {
    // 8 + 9 + 1 = 18, where 9 + 1 + 7 and 1 + 9 + 7 are 17
    expect(Array.from(assign(of([9, 8, 1], [9, 1, 1], [2, 7, 1])))).toEqual([1, 0, 2]);
  });

  test("is optimal, also with fewer rows than columns", () => {
    const value = fc.integer({ min: -9, max: 9 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.nat(2),
        fc.array(value, { minLength: 35, maxLength: 35 }),
        (n, more, x) => {
          const m = n + more;
          const values = matrix(n, m, Float32Array.from(x.slice(0, n * m)));
          const columns = assign(values);
          expect(new Set(columns).size).toBe(n);
          const total = columns.reduce((sum, j, i) => sum + values.data[i * m + j], 0);
          const best = (i: number, taken: number): number => {
            if (i === n) return 0;
            let most = -Infinity;
            for (let j = 0; j < m; j++) {
              if (!(taken & (1 << j)))
                most = Math.max(most, values.data[i * m + j] + best(i + 1, taken | (1 << j)));
            }
            return most;
          };
          expect(total).toBe(best(0, 0));
        },
      ),
      { numRuns: 60 },
    );
  });
});
