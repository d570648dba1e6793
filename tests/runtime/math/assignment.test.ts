import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { assign } from "../../../runtime/math/assignment.ts";
import { matrix } from "../../../runtime/math/matrix.ts";
import { matrixOf } from "./support.ts";

describe("assignment", () => {
  test("the first row does not always get its best column", () => {
    // 8 + 9 + 1 = 18, where 9 + 1 + 7 and 1 + 9 + 7 are 17
    expect(Array.from(assign(matrixOf([9, 8, 1], [9, 1, 1], [2, 7, 1])))).toEqual([1, 0, 2]);
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
