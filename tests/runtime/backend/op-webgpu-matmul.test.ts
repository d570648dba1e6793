/** Products that use tiles, for which the shapes in `op-webgpu.test.ts` are too small. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { MatmulOptions } from "../../../runtime/backend/contract/backend.ts";
import { multiplyTiles } from "../../../runtime/backend/webgpu/kernels/matmul-many-rows.ts";
import { LARGE, SMALL } from "../../../runtime/backend/webgpu/kernels/matmul-tiled.ts";
import { createWebgpuBackend, type WebgpuBackend } from "../../../runtime/backend/webgpu/mod.ts";
import { Random } from "../../../runtime/math/random.ts";
import { assertClose } from "../../support/compare.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { normal } from "./op-property.ts";

// Each exceeds one tile and one step; K = 300 also needs more than one slice.
const CASES = [
  { tile: LARGE, M: 132, N: 140, K: 36 },
  { tile: SMALL, M: 70, N: 68, K: 300 },
];
const TRANSPOSITIONS: MatmulOptions[] = [
  { transA: false, transB: false },
  { transA: false, transB: true, accumulate: true },
  { transA: true, transB: false, accumulate: true },
  { transA: true, transB: true },
];

if (noAdapter) test(`tiles on webgpu: ${noAdapter}`, { skip: true }, () => {});
else {
  describe("tiles on webgpu", () => {
    let backend: WebgpuBackend;
    before(async () => {
      backend = await createWebgpuBackend();
    });
    after(() => backend.dispose());

    for (const { tile, M, N, K } of CASES) {
      for (const options of TRANSPOSITIONS) {
        const { transA, transB, accumulate } = options;
        const title = `${M}×${K} by ${K}×${N} in tiles of ${tile.rows}: ${transA ? "aᵀ" : "a"}·${transB ? "bᵀ" : "b"}`;
        test(`${title}${accumulate ? ", accumulating" : ""}`, async () => {
          const random = new Random("tiles");
          const shapes = [[M, N], transA ? [K, M] : [M, K], transB ? [N, K] : [K, N]];
          const values = shapes.map((shape) => normal(random, shape).values);
          const reference = new ReferenceBackend();
          const expected = shapes.map((shape) => reference.alloc(shape));
          for (const [i, x] of expected.entries()) reference.write(x, values[i]);
          reference.matmul(expected[0], expected[1], expected[2], options);
          // In the last case tensors begin three elements past a multiple of four, so vector loads are not possible.
          const offset = transA && transB ? 3 : 0;
          const memory = shapes.map(([rows, columns]) => backend.alloc([rows * columns + 4]));
          const [out, a, b] = memory.map((x, i) => backend.view(x, shapes[i], offset));
          for (const [i, x] of memory.entries()) backend.write(x, values[i], offset);
          multiplyTiles(backend, out, a, b, { ...options, factors: "f32", tile });
          const actual = await backend.read(out);
          assertClose(actual, reference.values(expected[0]), { relative: 1e-5 }, "out");
          // Memory past the end of the product is unchanged.
          assert.deepEqual(await backend.read(memory[0], offset + M * N), new Float32Array(4 - offset));
          for (const x of memory) backend.free(x);
        });
      }
    }
  });
}
