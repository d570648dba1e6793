/**
 * The Backend contract as tests, which run on every backend and every build: each op against the float64 reference,
 * device memory, and errors for mismatched shapes.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Backend, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { OP_PROPERTIES } from "./op-properties.ts";

export interface OpSuiteOptions {
  /** Number of random cases for each property. */
  runs?: number;
}

/** A software renderer compiles a kernel for each new shape, which takes seconds on a busy machine. */
const TIMEOUT = { timeout: 120_000 };

export function opSuite(
  name: string,
  makeBackend: () => Promise<Backend>,
  { runs = 30 }: OpSuiteOptions = {},
): void {
  describe(`ops on ${name}`, () => {
    let backend: Backend;
    before(async () => {
      backend = await makeBackend();
    });
    after(() => backend.dispose());

    for (const [op, properties] of Object.entries(OP_PROPERTIES)) {
      for (const { title, check } of properties) test(`${op}: ${title}`, TIMEOUT, () => check(backend, runs));
    }

    test("memory: tensors are initially zero, and can be written and read in part", async () => {
      const x = backend.alloc([2, 3]);
      assert.deepEqual(await backend.read(x), new Float32Array(6));
      backend.write(x, Float32Array.of(1, 2, 3), 2);
      assert.deepEqual(await backend.read(x), Float32Array.of(0, 0, 1, 2, 3, 0));
      assert.deepEqual(await backend.read(x, 3, 2), Float32Array.of(2, 3));
      assert.deepEqual(await backend.read(x, 4), Float32Array.of(3, 0));
      backend.free(x);
      // Reused memory is zeroed.
      const y = backend.alloc([2, 3]);
      assert.deepEqual(await backend.read(y), new Float32Array(6));
      backend.free(y);
    });

    test("memory: a read returns a copy", async () => {
      const x = backend.alloc([4]);
      const before = await backend.read(x);
      backend.fill(x, 7);
      assert.deepEqual(before, new Float32Array(4));
      assert.deepEqual(await backend.read(x), new Float32Array(4).fill(7));
      backend.free(x);
    });

    test("memory: each dtype preserves its values", async () => {
      const values = {
        f32: Float32Array.of(0.1, -3e38, Number.NaN),
        i32: Int32Array.of(-1, 2 ** 31 - 1, -(2 ** 31)),
        f16: Uint16Array.of(0x3c00, 0xffff, 1),
        i8: Int8Array.of(-128, 127, 0),
      };
      for (const dtype of ["f32", "i32", "f16", "i8"] as const) {
        const x = backend.alloc([1, 3], dtype);
        backend.write(x, values[dtype]);
        assert.deepEqual(await backend.read(x), values[dtype]);
        backend.free(x);
      }
    });

    test("memory: an i8 tensor has one scale for every 32 values of a row", () => {
      for (const [columns, groups] of [
        [1, 1],
        [32, 1],
        [33, 2],
        [96, 3],
      ]) {
        const x = backend.alloc([5, columns], "i8");
        assert.deepEqual([x.scale?.shape, x.scale?.dtype], [[5, groups], "f32"]);
        backend.free(x);
      }
    });

    test("memory: a view shares the memory of its tensor", async () => {
      // 64 values are 256 bytes, the alignment of bindings on some devices.
      const x = backend.alloc([128, 2]);
      const view = backend.view(x, [4, 16], 64);
      assert.deepEqual([view.shape, view.size], [[4, 16], 64]);
      backend.fill(view, 5);
      backend.write(x, Float32Array.of(9), 70);
      const all = await backend.read(x);
      const seen = await backend.read(backend.view(view, [8], 0));
      assert.deepEqual([...seen], [5, 5, 5, 5, 5, 5, 9, 5]);
      assert.deepEqual([all[63], all[64], all[127], all[128]], [0, 5, 5, 0]);
      backend.free(x);
    });

    test("memory: a freed tensor reduces allocated, but not peak", () => {
      const start = backend.memory();
      const x = backend.alloc([1000, 1000]);
      const during = backend.memory();
      assert.ok(during.allocated >= start.allocated + 4e6);
      assert.ok(during.peak >= during.allocated);
      backend.free(x);
      assert.equal(backend.memory().allocated, start.allocated);
      assert.equal(backend.memory().peak, during.peak);
    });

    for (const [title, call] of Object.entries(MISMATCHES)) {
      test(`RangeError: ${title}`, () => {
        const tensors: Tensor[] = [];
        const alloc = (...shape: number[]) => {
          tensors.push(backend.alloc(shape));
          return tensors.at(-1)!;
        };
        const ints = (n: number) => {
          tensors.push(backend.alloc([n], "i32"));
          return tensors.at(-1)!;
        };
        assert.throws(() => call(backend, alloc, ints), RangeError);
        for (const tensor of tensors) backend.free(tensor);
      });
    }
  });
}

type Mismatch = (b: Backend, alloc: (...shape: number[]) => Tensor, ints: (n: number) => Tensor) => void;

const SHAPE = { batch: 2, length: 3, heads: 4, kvHeads: 2, headDim: 6 };
const ADAM = { lr: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, step: 1, clip: 0 };

/** Calls in which one tensor has a wrong shape. */
const MISMATCHES: Record<string, Mismatch> = {
  "write past the end": (b, alloc) => b.write(alloc(4), new Float32Array(2), 3),
  "write of another type": (b, alloc) => b.write(alloc(4), new Int32Array(4)),
  "view past the end": (b, alloc) => b.view(alloc(4), [2], 3),
  "copy of another shape": (b, alloc) => b.copy(alloc(4), alloc(5)),
  "copy of another type": (b, alloc, ints) => b.copy(alloc(4), ints(4)),
  "add of another shape": (b, alloc) => b.add(alloc(2, 3), alloc(2, 3), alloc(3, 2)),
  "addBroadcast of another width": (b, alloc) => b.addBroadcast(alloc(4, 3), alloc(2)),
  "sumBroadcast of another width": (b, alloc) => b.sumBroadcast(alloc(2), alloc(4, 3)),
  "matmul inner sizes": (b, alloc) => b.matmul(alloc(2, 4), alloc(2, 3), alloc(5, 4)),
  "matmul inner sizes, transposed": (b, alloc) =>
    b.matmul(alloc(2, 4), alloc(3, 2), alloc(3, 4), { transA: true, transB: true }),
  "matmul out": (b, alloc) => b.matmul(alloc(4, 2), alloc(2, 3), alloc(3, 4)),
  "gather width": (b, alloc, ints) => b.gather(alloc(2, 5), alloc(9, 4), ints(2)),
  "gather rows": (b, alloc, ints) => b.gather(alloc(3, 4), alloc(9, 4), ints(2)),
  "scatterAdd rows": (b, alloc, ints) => b.scatterAdd(alloc(9, 4), ints(2), alloc(3, 4)),
  "topk out": (b, alloc) => b.topk(alloc(2, 5), alloc(2, 4), 1),
  "topk with k above the width": (b, alloc) => b.topk(alloc(2, 4), alloc(2, 4), 5),
  "topkBackward out": (b, alloc) => b.topkBackward(alloc(2, 4), alloc(2, 4), alloc(2, 5)),
  "rmsnorm rstd": (b, alloc) => b.rmsnorm(alloc(2, 4), alloc(3), alloc(2, 4), alloc(4)),
  "rmsnorm weight": (b, alloc) => b.rmsnorm(alloc(2, 4), alloc(2), alloc(2, 4), alloc(5)),
  "rmsnormBackward dWeight": (b, alloc) =>
    b.rmsnormBackward(alloc(2, 4), alloc(2), alloc(2, 4), alloc(2, 4), alloc(4), alloc(2)),
  "layernorm stats": (b, alloc) => b.layernorm(alloc(2, 4), alloc(2), alloc(2, 4), alloc(4), alloc(4)),
  "layernormBackward dBias": (b, alloc) =>
    b.layernormBackward(alloc(2, 4), alloc(4), alloc(2), alloc(2, 4), alloc(2, 4), alloc(4), alloc(2, 2)),
  "rope width": (b, alloc) => b.rope(alloc(6, 20), alloc(8, 6), { length: 3, heads: 4, headDim: 6 }),
  "rope rows": (b, alloc) => b.rope(alloc(7, 24), alloc(8, 6), { length: 3, heads: 4, headDim: 6 }),
  "rope past the table": (b, alloc) => b.rope(alloc(6, 24), alloc(2, 6), { length: 3, heads: 4, headDim: 6 }),
  "attention k": (b, alloc) =>
    b.attention(alloc(6, 24), alloc(8, 3), alloc(6, 24), alloc(6, 24), alloc(6, 12), SHAPE),
  "attention lse": (b, alloc) =>
    b.attention(alloc(6, 24), alloc(6, 4), alloc(6, 24), alloc(6, 12), alloc(6, 12), SHAPE),
  "attention heads that kvHeads does not divide": (b, alloc) =>
    b.attention(alloc(6, 24), alloc(8, 3), alloc(6, 24), alloc(6, 18), alloc(6, 18), {
      ...SHAPE,
      kvHeads: 3,
    }),
  "attentionBackward dk": (b, alloc) => {
    const [q, k] = [() => alloc(6, 24), () => alloc(6, 12)];
    b.attentionBackward(q(), alloc(5, 12), k(), q(), q(), alloc(8, 3), q(), k(), k(), SHAPE);
  },
  "writeCache width": (b, alloc, ints) => b.writeCache(alloc(2, 8, 12), alloc(6, 11), ints(2)),
  "writeCache start": (b, alloc, ints) => b.writeCache(alloc(2, 8, 12), alloc(6, 12), ints(3)),
  "attentionCached cache": (b, alloc, ints) =>
    b.attentionCached(alloc(6, 24), alloc(6, 24), alloc(2, 8, 12), alloc(2, 9, 12), ints(2), SHAPE),
  "swiglu up": (b, alloc) => b.swiglu(alloc(4), alloc(4), alloc(5)),
  "swigluBackward dUp": (b, alloc) => b.swigluBackward(alloc(4), alloc(5), alloc(4), alloc(4), alloc(4)),
  "gelu out": (b, alloc) => b.gelu(alloc(4), alloc(5)),
  "geluBackward x": (b, alloc) => b.geluBackward(alloc(4), alloc(4), alloc(5)),
  "crossEntropy losses": (b, alloc, ints) => b.crossEntropy(alloc(3), alloc(2, 4), ints(2), 1),
  "crossEntropy targets": (b, alloc, ints) => b.crossEntropy(alloc(2), alloc(2, 4), ints(3), 1),
  "globalNorm norm": (b, alloc) => b.globalNorm(alloc(2), [alloc(4)]),
  "adamw m": (b, alloc) => b.adamw(alloc(4), alloc(4), alloc(5), alloc(4), alloc(1), ADAM),
};
