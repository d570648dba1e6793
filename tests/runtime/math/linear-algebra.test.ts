import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import {
  coordinateDraws,
  randomMixture,
  randomOrthogonal,
  rotations,
} from "../../../runtime/experiments/framework/null-draws.ts";
import { coherence } from "../../../runtime/experiments/recipes/geometry.ts";
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
import { mean } from "../../../runtime/math/statistics.ts";
import { assertClose } from "../../support/compare.ts";
import { toyConfig, toyContext, toyModel, V } from "../experiments/toy-model.ts";

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

  test("products on the device are those by hand, of more rows than it takes at once, and transposed", async () => {
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

  test("the largest: in order, the first of equals", () => {
    expect(largest([1, 5, 3, 5, 0], 3)).toEqual([1, 3, 2]);
    expect(largest([1, 2], 5)).toEqual([1, 0]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 })), fc.integer({ min: 1, max: 9 }), (values, k) => {
        const sorted = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
        expect(largest(values, k)).toEqual(sorted.slice(0, k));
      }),
    );
  });

  test("a cut keeps entries of the largest size, with their signs, and as many as asked for", () => {
    expect(Array.from(keepLargest(of([1, -3, 2, 0.5], [2, -2, 2, 2]), 2).data)).toEqual([
      0, -3, 2, 0, 2, -2, 0, 0,
    ]);
    expect(Array.from(keepLargest(of([0, -3]), 5).data)).toEqual([0, -3]);
  });
});

describe("spectra", () => {
  test("a 2×2 matrix by hand", () => {
    const { values, vectors } = eigen([2, 1, 1, 2], 2, { vectors: true });
    expect(values[0]).toBeCloseTo(3, 12);
    expect(values[1]).toBeCloseTo(1, 12);
    expect(Math.abs(vectors![0])).toBeCloseTo(Math.SQRT1_2, 12);
    expect(vectors![0]).toBeCloseTo(vectors![1], 12);
  });

  test("vectors are orthonormal, and A·v = λ·v, also of repeated and zero values", () => {
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

  test("singular values of orthogonal columns are their lengths, whichever way the matrix lies", () => {
    for (const table of [of([3, 0], [0, 0], [0, 4], [0, 0]), of([3, 0, 0, 0], [0, 0, 4, 0])]) {
      const { values, n } = gram(table);
      assertClose(singularValues(values, n), [4, 3], { relative: 1e-12 }, "singular values");
    }
  });

  test("effective rank: 3 of three equal values, 1 of one, exp of the entropy of ¾ and ¼", () => {
    expect(effectiveRank([2, 2, 2])).toBeCloseTo(3, 12);
    expect(effectiveRank([5, 0, 0])).toBe(1);
    expect(effectiveRank([3, 1])).toBeCloseTo(4 / 3 ** 0.75, 12);
  });

  test("principal components of points along a line, off the origin", () => {
    const { coordinates, shares } = principal(of([1, 5], [4, 9], [-2, 1]), 2);
    // Along (3,4)/5 from (1,5): 0, 5, −5. The largest coordinate is positive.
    assertClose(coordinates, [0, 0, 5, 0, -5, 0], { relative: 1e-7 }, "coordinates");
    expect(shares[0]).toBeCloseTo(1, 10);
  });

  test("coherence: 1/n of orthogonal rows, 1 of parallel ones, and no rotation of rows changes it", async () => {
    expect(coherence(of([1, 0], [0, 1]))).toBeCloseTo(0.5, 12);
    expect(coherence(of([1, 1], [2, 2]))).toBeCloseTo(1, 12);
    // Lengths² 1 and 2, product 1: (1 + 4 + 1 + 1)/9
    expect(coherence(of([1, 0], [1, 1]))).toBeCloseTo(7 / 9, 12);
    const rows = gaussian(8, 5);
    const model = await toyModel(backend);
    const turned = await multiply(model, randomOrthogonal(8, new Random("q")), rows);
    expect(coherence(turned)).toBeCloseTo(coherence(rows), 6);
  });
});

describe("assignment", () => {
  test("a worked case: the first row gives up its best for the second's", () => {
    // 8 + 9 + 1 = 18, where 9 + 1 + 7 and 1 + 9 + 7 are 17
    expect(Array.from(assign(of([9, 8, 1], [9, 1, 1], [2, 7, 1])))).toEqual([1, 0, 2]);
  });

  test("is the best of all assignments, also of fewer rows than columns", () => {
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

describe("draws of coordinates", () => {
  test("rotations keep products of rows, differ, and have no preferred direction", async () => {
    const context = await toyContext(await toyModel(backend));
    const x = gaussian(4, 16);
    const draws: Matrix[] = [];
    for await (const turned of rotations(context, x, 40, new Random("r"))) draws.push(turned);
    expect(draws.length).toBe(40);
    for (const turned of draws) assertClose(gram(turned).values, gram(x).values, { relative: 1e-5 }, "gram");
    // Two draws are as unlike as two vectors at random: their cosines have the mean 0 and the variance 1/16.
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

  test("of reflow-topk they are fresh recipes with k entries that aren't negative", async () => {
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

  test("a random mixture has the singular values it was given", async () => {
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
    const turned = {
      recipe: (await multiply(model, table(recipe), q)).data,
      basis: (await multiply(model, q, table(basis!), { transA: true })).data,
    };
    const other = await toyModel(backend, { config, seed: 3, values: turned });
    const ids = Int32Array.from({ length: 20 }, (_, i) => (37 * i) % V);
    const [before, after] = [await model.forward(ids), await other.forward(ids)];
    assertClose(after.data, before.data, { relative: 1e-5 }, "logits");
    expect(after.data).not.toEqual(before.data);
  });
});
