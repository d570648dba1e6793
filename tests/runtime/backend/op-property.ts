/**
 * How one op is tested: the backend and the float64 reference are called with the same random tensors. Afterwards every
 * tensor of the call is compared, including inputs.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Backend, DType, HostArray, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { Random } from "../../../runtime/math/random.ts";
import { assertClose } from "../../support/compare.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";

export interface HostTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly values: HostArray;
  /** Scales of i8 values. */
  readonly scale?: Float32Array;
}

/** One call of an op, with its tensors before the call by name. */
export interface OpCall<Name extends string> {
  tensors: Record<Name, HostTensor>;
  run(backend: Backend, tensors: Record<Name, Tensor>): void;
  /** For each tensor: ‖a − b‖ ≤ tolerance · (‖b‖ + floor). Default: 1e-5. */
  tolerance?: number;
  /** For results that cancel to nearly zero: the magnitude of their terms. Default: 0. */
  floor?: number;
}

export interface OpProperty {
  title: string;
  /** Throws if the result of the backend differs from that of the reference. */
  check(backend: Backend, runs: number): Promise<void>;
}

/** `make` creates a call with random values from a random shape. A failure is shrunk to the smallest shape. */
export function property<Shape, Name extends string>(
  title: string,
  shapes: fc.Arbitrary<Shape>,
  make: (shape: Shape, random: Random) => OpCall<Name>,
): OpProperty {
  return {
    title,
    check: (backend, runs) =>
      fc.assert(
        fc.asyncProperty(shapes, fc.nat(), async (shape, seed) =>
          checkCall(backend, make(shape, new Random(`${seed}`))),
        ),
        { numRuns: runs },
      ),
  };
}

async function checkCall<Name extends string>(backend: Backend, call: OpCall<Name>): Promise<void> {
  const { tolerance = 1e-5, floor = 0 } = call;
  const reference = new ReferenceBackend();
  const expected = upload(reference, call.tensors);
  const first = upload(backend, call.tensors);
  const second = upload(backend, call.tensors);
  call.run(reference, expected);
  call.run(backend, first);
  call.run(backend, second);
  for (const name of Object.keys(call.tensors) as Name[]) {
    const before = call.tensors[name];
    const actual = await backend.read(first[name]);
    assert.deepEqual(
      bits(actual),
      bits(await backend.read(second[name])),
      `${name}: a second call gives different bits`,
    );
    const wanted =
      before.dtype === "f32" ? reference.values(expected[name]) : await reference.read(expected[name]);
    const untouched = before.values.every((x, i) => Object.is(x, wanted[i]));
    if (untouched || before.dtype !== "f32")
      assert.deepEqual(actual, before.dtype === "f32" ? before.values : wanted, name);
    else assertClose(actual, wanted, { relative: tolerance, absolute: tolerance * floor }, name);
  }
  for (const tensor of [...Object.values<Tensor>(first), ...Object.values<Tensor>(second)])
    backend.free(tensor);
}

const bits = (x: HostArray): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);

function upload<Name extends string>(
  backend: Backend,
  tensors: Record<Name, HostTensor>,
): Record<Name, Tensor> {
  const entries = Object.entries<HostTensor>(tensors).map(([name, { dtype, shape, values, scale }]) => {
    const tensor = backend.alloc(shape, dtype);
    backend.write(tensor, values);
    if (scale) backend.write(tensor.scale!, scale);
    return [name, tensor];
  });
  return Object.fromEntries(entries) as Record<Name, Tensor>;
}

// ---- values --------------------------------------------------------------------------------------------------

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function f32(shape: readonly number[], value: (i: number) => number): HostTensor {
  return { dtype: "f32", shape, values: Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)) };
}

export const normal = (random: Random, shape: readonly number[], std = 1): HostTensor =>
  f32(shape, () => std * random.normal());

/** NaN values for an output that an op overwrites: its previous content must not matter. */
export const garbage = (shape: readonly number[]): HostTensor => f32(shape, () => Number.NaN);

/** Uniform in [0, below). */
export function integers(random: Random, shape: readonly number[], below: number): HostTensor {
  const values = Int32Array.from({ length: sizeOf(shape) }, () => Math.floor(random.uniform() * below));
  return { dtype: "i32", shape, values };
}

export function f16(random: Random, shape: readonly number[], std = 1): HostTensor {
  const values = Float16Array.from({ length: sizeOf(shape) }, () => std * random.normal());
  return { dtype: "f16", shape, values: new Uint16Array(values.buffer) };
}

export function i8(random: Random, [rows, columns]: readonly [number, number]): HostTensor {
  const values = Int8Array.from({ length: rows * columns }, () => Math.floor(random.uniform() * 255) - 127);
  const groups = rows * Math.ceil(columns / 32);
  const scale = Float32Array.from({ length: groups }, () => 0.001 + 0.02 * random.uniform());
  return { dtype: "i8", shape: [rows, columns], values, scale };
}

/**
 * Rows that round to int8 the same way in any precision: in each group of 32 the largest value is 127 units, and the
 * others are within 0.3 of a whole number of units.
 */
export function roundable(random: Random, [rows, columns]: readonly [number, number]): HostTensor {
  let unit = 1;
  return f32([rows, columns], (i) => {
    if ((i % columns) % 32 === 0) {
      unit = 0.001 + 0.03 * random.uniform();
      return 127 * unit;
    }
    const whole = Math.floor(random.uniform() * 253) - 126;
    return unit * (whole + 0.6 * (random.uniform() - 0.5));
  });
}
