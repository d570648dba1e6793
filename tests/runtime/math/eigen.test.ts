import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { effectiveRank, eigen, gram, principal, singularValues } from "../../../runtime/math/eigen.ts";
import { dot } from "../../../runtime/math/matrix.ts";
import { assertClose } from "../../support/compare.ts";
import { matrixOf } from "./support.ts";

describe("spectra", () => {
  test("a 2×2 matrix has the eigenvalues computed by hand", () => {
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
    for (const table of [matrixOf([3, 0], [0, 0], [0, 4], [0, 0]), matrixOf([3, 0, 0, 0], [0, 0, 4, 0])]) {
      const { values, n } = gram(table);
      assertClose(singularValues(values, n), [4, 3], { relative: 1e-12 }, "singular values");
    }
  });

  test("effective rank: 3 for three equal values, 1 for one, exp of the entropy for ¾ and ¼", () => {
    expect(effectiveRank([2, 2, 2])).toBeCloseTo(3, 12);
    expect(effectiveRank([5, 0, 0])).toBe(1);
    expect(effectiveRank([3, 1])).toBeCloseTo(4 / 3 ** 0.75, 12);
  });

  test("principal components of points on a line that does not pass through the origin", () => {
    const { coordinates, shares } = principal(matrixOf([1, 5], [4, 9], [-2, 1]), 2);
    // Coordinates along (3,4)/5 from (1,5): 0, 5, −5. The largest one is positive.
    assertClose(coordinates, [0, 0, 5, 0, -5, 0], { relative: 1e-7 }, "coordinates");
    expect(shares[0]).toBeCloseTo(1, 10);
  });
});
