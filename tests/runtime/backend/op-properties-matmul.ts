import fc from "fast-check";
import type { Tensor } from "../../../runtime/backend/contract/backend.ts";
import { f16, garbage, i8, normal, type OpProperty, property, roundable } from "./op-property.ts";

/** Sizes near multiples of register tiles (6, 8) and of small cache blocks. */
const edge = fc.constantFrom(1, 5, 6, 7, 8, 9, 47, 48, 49, 63, 65, 95, 97, 257);
const few = fc.constantFrom<number[]>(1, 5, 8, 17);

const combinations = [false, true].flatMap((transA) =>
  [false, true].flatMap((transB) => [false, true].map((accumulate) => ({ transA, transB, accumulate }))),
);

const stored = (rows: number, columns: number, transposed: boolean): [number, number] =>
  transposed ? [columns, rows] : [rows, columns];

const shape = { rows: edge, inner: edge, columns: edge };

export const matmulProperties: { matmul: OpProperty[]; linears: OpProperty[] } = {
  matmul: [
    ...combinations.map((options) => {
      const { transA, transB, accumulate } = options;
      const title = `f32 ${transA ? "aᵀ" : "a"}·${transB ? "bᵀ" : "b"}${accumulate ? ", accumulating" : ""}`;
      return property(title, fc.record(shape), ({ rows, inner, columns }, random) => ({
        tensors: {
          out: accumulate ? normal(random, [rows, columns]) : garbage([rows, columns]),
          a: normal(random, stored(rows, inner, transA)),
          b: normal(random, stored(inner, columns, transB)),
        },
        run: (backend, { out, a, b }) => backend.matmul(out, a, b, options),
        floor: 1,
      }));
    }),
    // One side at a time exceeds a cache block.
    property(
      "f32, one long side",
      fc.record({
        sides: fc.tuple(few, few, few),
        long: fc.constantFrom(257, 511, 1030, 4100),
        which: fc.nat({ max: 2 }),
        options: fc.constantFrom(...combinations),
      }),
      ({ sides, long, which, options }, random) => {
        const [rows, inner, columns] = sides.with(which, long);
        return {
          tensors: {
            out: normal(random, [rows, columns]),
            a: normal(random, stored(rows, inner, options.transA)),
            b: normal(random, stored(inner, columns, options.transB)),
          },
          run: (backend, { out, a, b }) => backend.matmul(out, a, b, options),
          floor: 1,
        };
      },
    ),
    property(
      "f16 b",
      fc.record({ ...shape, rows: fc.oneof(fc.integer({ min: 1, max: 9 }), edge), accumulate: fc.boolean() }),
      ({ rows, inner, columns, accumulate }, random) => ({
        tensors: {
          out: normal(random, [rows, columns]),
          a: normal(random, [rows, inner]),
          b: f16(random, [columns, inner]),
        },
        run: (backend, { out, a, b }) => backend.matmul(out, a, b, { transB: true, accumulate }),
        floor: 1,
      }),
    ),
    // Includes inner sizes that are not multiples of 32.
    property(
      "int8 b, with a rounded to int8",
      fc.record({
        rows: fc.constantFrom(1, 2, 7, 8, 9, 49),
        inner: fc.constantFrom(1, 5, 31, 32, 33, 63, 64, 96, 97, 257),
        columns: edge,
        accumulate: fc.boolean(),
      }),
      ({ rows, inner, columns, accumulate }, random) => ({
        tensors: {
          out: normal(random, [rows, columns]),
          a: roundable(random, [rows, inner]),
          b: i8(random, [columns, inner]),
        },
        run: (backend, { out, a, b }) => backend.matmul(out, a, b, { transB: true, accumulate }),
        floor: 1,
      }),
    ),
  ],
  linears: (["f32", "f16", "i8"] as const).map((dtype) =>
    property(
      `one to three ${dtype} weights`,
      fc.record({
        rows: fc.constantFrom(1, 2, 8, 9, 49),
        inner: fc.constantFrom(1, 31, 32, 33, 64, 97),
        columns: fc.array(edge, { minLength: 1, maxLength: 3 }),
      }),
      ({ rows, inner, columns }, random) => {
        const weight = { f32: normal, f16, i8 }[dtype];
        const named = <T>(letter: string, make: (n: number) => T) =>
          Object.fromEntries(columns.map((n, i) => [`${letter}${i}`, make(n)]));
        return {
          tensors: {
            x: (dtype === "i8" ? roundable : normal)(random, [rows, inner]),
            ...named("out", (n) => garbage([rows, n])),
            ...named("w", (n) => weight(random, [n, inner])),
          },
          run: (backend, tensors: Record<string, Tensor>) => {
            const all = (letter: string) => columns.map((_, i) => tensors[`${letter}${i}`]);
            backend.linears(all("out"), tensors.x, all("w"));
          },
          floor: 1,
        };
      },
    ),
  ),
};
