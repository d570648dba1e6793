import { expect, test } from "bun:test";
import { bf16ToF32, f16ToF32, f32ToF16 } from "../../../runtime/formats/f16.ts";

const allBits = Uint16Array.from({ length: 65536 }, (_, i) => i);

test("encodes values computed by hand", () => {
  const pairs: [number, number][] = [
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff], // the largest
    [65519.99609375, 0x7bff], // just below the tie between 65504 and 65536
    [65520, 0x7c00], // the tie, rounded to even: Infinity
    [1e30, 0x7c00],
    [Number.NEGATIVE_INFINITY, 0xfc00],
    [2 ** -14, 0x0400], // the smallest normal
    [2 ** -24, 0x0001], // the smallest subnormal
    [2 ** -25, 0x0000], // a tie, rounded to even: zero
    [-(2 ** -25), 0x8000],
    [1.5 * 2 ** -24, 0x0002],
    [2 ** -25 + 2 ** -48, 0x0001],
    [1 + 2 ** -11, 0x3c00], // ties between 1 and 1 + 2^-10, and above
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 / 3, 0x3555],
  ];
  const values = Float32Array.from(pairs, ([value]) => value);
  expect([...f32ToF16(values)]).toEqual(pairs.map(([, bits]) => bits));
  expect([...f32ToF16(Float32Array.of(Number.NaN))]).toEqual([0x7e00]);
});

test("every f16 decodes like Float16Array", () => {
  const wanted = new Float16Array(allBits.buffer);
  expect(f16ToF32(allBits).every((x, i) => Object.is(x, wanted[i]))).toBe(true);
});

test("every f16 survives a round trip", () => {
  const back = f32ToF16(f16ToF32(allBits));
  const isNaN16 = (bits: number) => (bits & 0x7fff) > 0x7c00;
  for (const bits of allBits) expect(isNaN16(bits) ? isNaN16(back[bits]) : back[bits] === bits).toBe(true);
});

test("midpoints of neighbouring f16 values, and the f32 values next to them, round like Float16Array", () => {
  const f16 = f16ToF32(Uint16Array.from({ length: 0x7c00 }, (_, i) => i));
  const middles = Float32Array.from(f16, (x, i) => (x + (f16[i + 1] ?? 65536)) / 2);
  const bits = new Uint32Array(middles.buffer);
  const values = new Float32Array(6 * middles.length);
  const out = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) {
    out.set([bits[i] - 1, bits[i], bits[i] + 1], 6 * i);
    out.set(
      [bits[i] - 1, bits[i], bits[i] + 1].map((x) => x | 0x80000000),
      6 * i + 3,
    );
  }
  expect(f32ToF16(values)).toEqual(new Uint16Array(new Float16Array(values).buffer));
});

test("random bit patterns encode like Float16Array", () => {
  let state = 7;
  const bits = Uint32Array.from({ length: 200_000 }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  });
  const values = new Float32Array(bits.buffer).filter((x) => !Number.isNaN(x));
  expect(f32ToF16(values)).toEqual(new Uint16Array(new Float16Array(values).buffer));
});

test("a bf16 decodes as the upper half of an f32", () => {
  const bits = Uint16Array.of(0x3f80, 0xc040, 0x7f80, 0x8000, 0x0001, 0x7fc0);
  expect([...bf16ToF32(bits)]).toEqual([1, -3, Number.POSITIVE_INFINITY, -0, 2 ** -133, Number.NaN]);
});

test("a given output array is filled, including a view of a larger buffer", () => {
  const values = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
  const out = new Uint16Array(4);
  f32ToF16(values, out.subarray(1, 3));
  expect([...out]).toEqual([0, 0x3c00, 0x4000, 0]);
  const wide = new Float32Array(4);
  f16ToF32(out.subarray(1, 3), wide.subarray(2));
  expect([...wide]).toEqual([0, 0, 1, 2]);
  bf16ToF32(Uint16Array.of(0x3f80), wide.subarray(1));
  expect(wide[1]).toBe(1);
});
