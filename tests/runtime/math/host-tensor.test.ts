import { expect, test } from "bun:test";
import fc from "fast-check";
import { HostTensor } from "../../../runtime/math/host-tensor.ts";

const tensor = new HostTensor(
  [2, 3, 4],
  Float32Array.from({ length: 24 }, (_, i) => i),
);

test("at reads row-major values, and negative indices count from the end", () => {
  expect(tensor.at(0, 0, 0)).toBe(0);
  expect(tensor.at(1, 2, 3)).toBe(23);
  expect(tensor.at(1, 0, 2)).toBe(14);
  expect(tensor.at(-1, -3, -2)).toBe(14);
});

test("slice returns a view without copying", () => {
  const row = tensor.slice(1, -1);
  expect(row.shape).toEqual([4]);
  expect(Array.from(row.data)).toEqual([20, 21, 22, 23]);
  expect(row.data.buffer).toBe(tensor.data.buffer);
  expect(tensor.slice().shape).toEqual([2, 3, 4]);
  expect(tensor.slice(0, 0, 0).at()).toBe(0);
});

test("at and slice agree for every index of any shape", () => {
  const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(shapes, fc.infiniteStream(fc.nat()), (shape, random) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const x = new HostTensor(
        shape,
        Float32Array.from({ length: size }, (_, i) => i),
      );
      const indices = shape.map((n) => (random.next().value as number) % n);
      const expected = indices.reduce((offset, index, d) => offset * shape[d] + index, 0);
      expect(x.at(...indices)).toBe(expected);
      expect(x.slice(...indices.slice(0, -1)).at(indices.at(-1)!)).toBe(expected);
    }),
  );
});

test("invalid shapes and indices are errors that name them", () => {
  expect(() => new HostTensor([2, 2], new Float32Array(3))).toThrow(
    "shape [2,2] holds 4 values, but data has 3",
  );
  expect(() => tensor.at(0, 0)).toThrow("2 indices for the 3 dimensions of [2,3,4]");
  expect(() => tensor.at(0, 3, 0)).toThrow("index 3 is outside dimension 1 of [2,3,4]");
  expect(() => tensor.at(-3, 0, 0)).toThrow("index -3 is outside dimension 0 of [2,3,4]");
  expect(() => tensor.slice(0, 0.5)).toThrow("index 0.5 is outside dimension 1");
  expect(() => tensor.slice(0, 0, 0, 0)).toThrow("4 indices for the 3 dimensions");
});
