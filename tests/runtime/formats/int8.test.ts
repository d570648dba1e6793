import { expect, test } from "bun:test";
import fc from "fast-check";
import { dequantizeRows, quantizeRows } from "../../../runtime/formats/int8.ts";
import { expectError } from "../../support/expect-error.ts";

test("scale and rounding match values computed by hand, with ties to even", () => {
  // absmax is 127, so that the scale is 1 and values are only rounded.
  const row = Float32Array.of(127, -127, 0.5, 1.5, 2.5, -0.5, -2.5, 3.49, 3.51, 0);
  const { values, scale } = quantizeRows(row, 1, row.length);
  expect([...scale]).toEqual([1]);
  expect([...values]).toEqual([127, -127, 0, 2, 2, 0, -2, 3, 4, 0]);
});

test("each row and group of 32 columns has its own scale; the last group may be shorter", () => {
  const rows = 2;
  const columns = 65;
  const values = new Float32Array(rows * columns);
  values[0] = 127; // row 0, group 0
  values[31] = 1;
  values[32] = -254; // row 0, group 1
  values[64] = 0.127; // row 0, group 2, of one column
  values[columns + 64] = 1; // row 1, group 2
  const quantized = quantizeRows(values, rows, columns);
  expect([...quantized.scale]).toEqual([1, 2, Math.fround(0.127 / 127), 0, 0, Math.fround(1 / 127)]);
  expect(quantized.values[31]).toBe(1);
  expect(quantized.values[32]).toBe(-127);
  expect(quantized.values[64]).toBe(127);
  const back = dequantizeRows(quantized, rows, columns);
  expect(back[32]).toBe(-254);
  expect(back[columns]).toBe(0);
  expect(back[columns + 64]).toBeCloseTo(1, 6);
});

const matrix = fc
  .tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 100 }))
  .chain(([rows, columns]) =>
    fc.record({
      rows: fc.constant(rows),
      columns: fc.constant(columns),
      values: fc.float32Array({
        minLength: rows * columns,
        maxLength: rows * columns,
        // Nearer to the largest f32, 127 times a rounded scale can exceed it.
        min: -(2 ** 127),
        max: 2 ** 127,
        noNaN: true,
      }),
    }),
  );

test("the absolute error is at most half a scale, and the largest value of a group is ±127", () => {
  fc.assert(
    fc.property(matrix, ({ rows, columns, values }) => {
      const quantized = quantizeRows(values, rows, columns);
      const groups = Math.ceil(columns / 32);
      expect(quantized.scale.length).toBe(rows * groups);
      const back = dequantizeRows(quantized, rows, columns);
      for (let i = 0; i < values.length; i++) {
        const scale = quantized.scale[Math.floor(i / columns) * groups + Math.floor((i % columns) / 32)];
        if (scale < 2 ** -126) continue; // a subnormal scale is coarse and is tested separately below
        // The product is rounded to f32 again.
        expect(Math.abs(back[i] - values[i])).toBeLessThanOrEqual(scale * (0.5 + 127 * 2 ** -23));
        if (Math.abs(values[i]) / scale > 126.6) expect(Math.abs(quantized.values[i])).toBe(127);
      }
    }),
    { numRuns: 200 },
  );
});

test("quantising dequantised values again changes nothing", () => {
  fc.assert(
    fc.property(matrix, ({ rows, columns, values }) => {
      const bounded = values.map((x) => Math.max(-1e30, Math.min(1e30, Math.abs(x) < 1e-30 ? 0 : x)));
      const first = quantizeRows(bounded, rows, columns);
      expect(quantizeRows(dequantizeRows(first, rows, columns), rows, columns).values).toEqual(first.values);
    }),
  );
});

test("in subnormal groups a scale that rounds to 0 gives zeros, and a scale that rounds down clamps", () => {
  const unit = 2 ** -149;
  const { values, scale } = quantizeRows(Float32Array.of(60 * unit, -3 * unit), 1, 2);
  expect([...scale, ...values]).toEqual([0, 0, 0]);
  const clamped = quantizeRows(Float32Array.of(180 * unit, -180 * unit, 90 * unit), 1, 3);
  expect([...clamped.scale]).toEqual([unit]);
  expect([...clamped.values]).toEqual([127, -127, 90]);
});

test("values that are not finite are rejected", async () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    await expectError(() => quantizeRows(Float32Array.of(1, 2, bad, 3), 2, 2), "numerics", /row 1 /);
  }
});

test("mismatched sizes throw a RangeError", () => {
  expect(() => quantizeRows(new Float32Array(5), 2, 3)).toThrow(RangeError);
  expect(() => dequantizeRows({ values: new Int8Array(6), scale: new Float32Array(3) }, 2, 3)).toThrow(
    RangeError,
  );
});
