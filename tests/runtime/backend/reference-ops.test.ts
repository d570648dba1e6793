import { describe, expect, test } from "bun:test";
import { ReferenceBackend } from "../../support/reference-backend.ts";

/** Hand-computed results of the reference backend, for cases that model gradients and the oracle do not cover. */
describe("the float64 reference", () => {
  const backend = new ReferenceBackend();
  const f32 = (shape: number[], ...values: number[]) => {
    const tensor = backend.alloc(shape);
    backend.write(tensor, Float32Array.from(values));
    return tensor;
  };
  const i32 = (...values: number[]) => {
    const tensor = backend.alloc([values.length], "i32");
    backend.write(tensor, Int32Array.from(values));
    return tensor;
  };
  const f16 = (shape: number[], ...values: number[]) => {
    const tensor = backend.alloc(shape, "f16");
    backend.write(tensor, new Uint16Array(Float16Array.from(values).buffer));
    return tensor;
  };
  const values = (tensor: ReturnType<typeof f32>) => [...backend.values(tensor)];

  test("matmul in each transposition", () => {
    const out = backend.alloc([2, 2]);
    // [1 2 3; 4 5 6] · [1 0; 0 1; 2 -1] = [7 -1; 16 -1]
    const [a, at] = [f32([2, 3], 1, 2, 3, 4, 5, 6), f32([3, 2], 1, 4, 2, 5, 3, 6)];
    const [b, bt] = [f32([3, 2], 1, 0, 0, 1, 2, -1), f32([2, 3], 1, 0, 2, 0, 1, -1)];
    for (const transA of [false, true]) {
      for (const transB of [false, true]) {
        backend.matmul(out, transA ? at : a, transB ? bt : b, { transA, transB });
        expect(values(out)).toEqual([7, -1, 16, -1]);
      }
    }
    backend.matmul(out, a, b, { accumulate: true });
    expect(values(out)).toEqual([14, -2, 32, -2]);
    backend.matmul(out, a, f16([2, 3], 1, 0, 2, 0, 1, -1), { transB: true });
    expect(values(out)).toEqual([7, -1, 16, -1]);
    expect(() => backend.matmul(out, a, f16([3, 2]))).toThrow("needs transB");
  });

  test("int8: 33 columns are two groups, and a is rounded in its own groups", () => {
    const b = backend.alloc([1, 33], "i8");
    backend.write(b, new Int8Array(33).fill(2));
    backend.write(b.scale!, Float32Array.of(0.5, 10));
    // a's first group has a scale of 1: 127 stays and 3.4 becomes 3. The second group has a single value, which stays.
    const a = f32([1, 33], 127, 3.4, ...new Array(30).fill(0), 5);
    const out = backend.alloc([1, 1]);
    backend.matmul(out, a, b, { transB: true });
    expect(values(out)[0]).toBeCloseTo(130 * 1 + 5 * 20, 10);

    const row = backend.alloc([1, 33]);
    backend.gather(row, b, i32(0));
    expect(values(row)).toEqual([...new Array(32).fill(1), 20]);
    expect(() => backend.matmul(out, a, b)).toThrow(RangeError);
  });

  test("gather and scatterAdd", () => {
    const out = backend.alloc([3, 2]);
    backend.gather(out, f16([2, 2], 1, 2, 3, 4), i32(1, 0, 1));
    expect(values(out)).toEqual([3, 4, 1, 2, 3, 4]);
    const table = f32([2, 2], 10, 10, 10, 10);
    backend.scatterAdd(table, i32(1, 0, 1), out);
    expect(values(table)).toEqual([11, 12, 16, 18]);
    expect(() => backend.gather(out, table, i32(0, 2, 0))).toThrow("id 2 of 2 rows");
  });

  test("topk keeps the first of equal values, and no negative values", () => {
    const out = backend.alloc([2, 4]);
    backend.topk(out, f32([2, 4], 1, 3, 3, 3, -1, 2, -5, 0), 2);
    expect(values(out)).toEqual([0, 3, 3, 0, 0, 2, 0, 0]);
    backend.topkBackward(out, f32([2, 4], 1, 2, 3, 4, 5, 6, 7, 8), out);
    expect(values(out)).toEqual([0, 2, 3, 0, 0, 6, 0, 0]);
  });

  test("rope: a rotation by 90° and its inverse", () => {
    const table = f32([2, 4], 1, 1, 0, 0, 0, 1, 1, 0); // position 1 rotates pair (0, 2) by 90°
    const x = f32([2, 4], 1, 2, 3, 4, 1, 2, 3, 4);
    const options = { length: 2, heads: 1, headDim: 4 };
    backend.rope(x, table, options);
    expect(values(x)).toEqual([1, 2, 3, 4, -3, 2, 1, 4]);
    backend.rope(x, table, { ...options, inverse: true });
    expect(values(x)).toEqual([1, 2, 3, 4, 1, 2, 3, 4]);
    const late = f32([1, 4], 1, 2, 3, 4);
    backend.rope(late, table, { ...options, length: 1, start: i32(1) });
    expect(values(late)).toEqual([-3, 2, 1, 4]);
  });

  test("attention: two query heads share a key head; a score of ln 3 has three times the weight of 0", () => {
    const [ln3, D] = [Math.log(3), 1];
    const q = f32([2, 2], 5, 6, 0, ln3);
    const k = f32([2, 1], 0, 1);
    const v = f32([2, 1], 10, 20);
    const [out, lse] = [backend.alloc([2, 2]), backend.alloc([2, 2])];
    backend.attention(out, lse, q, k, v, { batch: 1, length: 2, heads: 2, kvHeads: 1, headDim: D });
    expect(values(out).map((x) => Math.round(x * 1e6) / 1e6)).toEqual([10, 10, 15, 17.5]);
    expect(values(lse).map((x) => Math.round(x * 1e6) / 1e6)).toEqual(
      [0, Math.log(2), 0, Math.log(4)].map((x) => Math.round(x * 1e6) / 1e6),
    );
  });

  test("attention over a cache equals attention", () => {
    const shape = { batch: 2, length: 4, heads: 4, kvHeads: 2, headDim: 3 };
    const wave = (rows: number, C: number, by: number) =>
      f32([rows, C], ...Array.from({ length: rows * C }, (_, i) => Math.sin(by * i)));
    const [q, k, v] = [wave(8, 12, 1.1), wave(8, 6, 1.7), wave(8, 6, 2.3)];
    const [whole, lse] = [backend.alloc([8, 12]), backend.alloc([8, 4])];
    backend.attention(whole, lse, q, k, v, shape);

    // Three rows of each sequence, then the last one.
    const [kCache, vCache] = [backend.alloc([2, 9, 6]), backend.alloc([2, 9, 6])];
    const rows = (x: typeof q, from: number, count: number) => {
      const C = x.shape[1];
      const part = [0, 1].flatMap((b) => values(backend.view(x, [count * C], (b * 4 + from) * C)));
      return f32([2 * count, C], ...part);
    };
    for (const [from, length] of [
      [0, 3],
      [3, 1],
    ]) {
      const start = i32(from, from);
      const out = backend.alloc([2 * length, 12]);
      backend.writeCache(kCache, rows(k, from, length), start);
      backend.writeCache(vCache, rows(v, from, length), start);
      backend.attentionCached(out, rows(q, from, length), kCache, vCache, start, { ...shape, length });
      const expected = values(rows(whole, from, length));
      values(out).forEach((x, i) => {
        expect(x).toBeCloseTo(expected[i], 6);
      });
    }
  });

  test("crossEntropy: logits of ln 1, ln 2, ln 5", () => {
    const logits = f32([1, 3], 0, Math.log(2), Math.log(5));
    const losses = backend.alloc([1]);
    backend.crossEntropy(losses, logits, i32(1), 0);
    expect(values(losses)[0]).toBeCloseTo(Math.log(4), 6);
    expect(values(logits)[0]).toBe(0);
    backend.crossEntropy(losses, logits, i32(1), 8);
    const gradient = values(logits);
    [1, -6, 5].forEach((x, i) => {
      expect(gradient[i]).toBeCloseTo(x, 5);
    });
  });

  test("overlapping outputs and freed tensors are rejected", () => {
    const x = f32([4, 4]);
    const half = backend.view(x, [2, 4], 4);
    expect(() => backend.matmul(half, backend.view(x, [2, 4]), f32([4, 4]))).toThrow("overlaps");
    backend.free(x);
    expect(() => backend.fill(half, 1)).toThrow("freed");
    expect(() => backend.free(x)).toThrow("freed");
  });
});
