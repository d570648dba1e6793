import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bf16ToF32 } from "../../../../runtime/formats/f16.ts";
import { f32ToBf16 } from "../../../../trainer/collective/mpi/bf16.ts";

const encode = (value: number) => f32ToBf16(Float32Array.of(value))[0];
const decode = (bits: number) => bf16ToF32(Uint16Array.of(bits))[0];

test("hand-worked values", () => {
  const pairs: [number, number][] = [
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3f80],
    [-2, 0xc000],
    [1 / 3, 0x3eab],
    [1 + 2 ** -8, 0x3f80], // ties between 1 and 1 + 2^-7, and above
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -23, 0x3f81],
    [-1 - 2 ** -8 - 2 ** -23, 0xbf81],
    [2 - 2 ** -9, 0x4000], // a carry into the exponent
    [2 ** -133, 0x0001], // the smallest
    [2 ** -134, 0x0000],
    [3 * 2 ** -134, 0x0002],
    [2 ** 127 * (2 - 2 ** -7), 0x7f7f], // the largest
    [2 ** 127 * (2 - 2 ** -8), 0x7f80], // the tie: to even, which is Infinity
    [2 ** 127 * (2 - 2 ** -8 - 2 ** -23), 0x7f7f],
    [Number.NEGATIVE_INFINITY, 0xff80],
    [Number.NaN, 0x7fc0],
  ];
  assert.deepEqual(
    pairs.map(([value]) => encode(value)),
    pairs.map(([, bits]) => bits),
  );
});

test("every bf16 survives a round trip", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const values = bf16ToF32(bits);
  const back = f32ToBf16(values);
  for (const i of bits) assert.equal(back[i], Number.isNaN(values[i]) ? 0x7fc0 : i);
});

test("any f32 rounds to the nearest bf16, ties to even", () => {
  const f32 = fc
    .integer({ min: 0, max: 2 ** 32 - 1 })
    .map((bits) => new Float32Array(Uint32Array.of(bits).buffer)[0]);
  const property = fc.property(f32, (value) => {
    fc.pre(Number.isFinite(value));
    const bits = encode(value);
    // Infinity counts as 2^128.
    const distance = (bits: number) =>
      Math.abs(value - ((bits & 0x7fff) === 0x7f80 ? Math.sign(value) * 2 ** 128 : decode(bits)));
    for (const neighbour of [bits - 1, bits + 1]) {
      if ((neighbour & 0x7fff) > 0x7f80) continue;
      if ((neighbour ^ bits) & 0x8000) continue;
      const [here, there] = [distance(bits), distance(neighbour)];
      assert.ok(here < there || (here === there && bits % 2 === 0), `${value} became ${decode(bits)}`);
    }
    assert.ok(Math.abs(value) < 2 ** -126 || distance(bits) <= 2 ** -8 * Math.abs(value));
  });
  fc.assert(property, { numRuns: 2000 });
});

test("a view into a buffer, and a longer output", () => {
  const values = Float32Array.of(9, 1, -2, 9).subarray(1, 3);
  const out = new Uint16Array(4).fill(7);
  f32ToBf16(values, out.subarray(1));
  assert.deepEqual([...out], [7, 0x3f80, 0xc000, 7]);
});
