import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import {
  arrayOf,
  encodeHeader,
  parseHeader,
  readSafetensors,
  type TensorData,
  writeSafetensors,
} from "../../../runtime/formats/safetensors.ts";
import { expectError } from "../../support/expect-error.ts";

/** A file with this header text and `dataBytes` bytes of data. */
function fileOf(header: string | Uint8Array, dataBytes = 0, headerLength?: bigint): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const f32 = (shape: unknown, ...data_offsets: unknown[]) => ({ dtype: "F32", shape, data_offsets });

describe("reading", () => {
  test("reads a handmade file with unaligned data and tensors in another order than their bytes", () => {
    const header = `{"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},"__metadata__":{"k":"v"},
      "a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}} `;
    const bytes = fileOf(header, 9);
    const data = new DataView(bytes.buffer, bytes.length - 9);
    data.setUint8(0, 7);
    data.setFloat32(1, 1.5, true);
    data.setFloat32(5, -2, true);
    const { metadata, tensors } = readSafetensors(bytes);
    expect(metadata).toEqual({ k: "v" });
    expect([...tensors.keys()]).toEqual(["a", "b"]);
    expect(tensors.get("a")).toEqual({ dtype: "U8", shape: [], data: Uint8Array.of(7) });
    expect(tensors.get("b")).toEqual({ dtype: "F32", shape: [2], data: Float32Array.of(1.5, -2) });
  });

  test("parseHeader needs only the header", () => {
    const bytes = fileOf(JSON.stringify({ x: f32([3], 0, 12) }));
    const { tensors, dataStart } = parseHeader(bytes, bytes.length + 12);
    expect(dataStart).toBe(bytes.length);
    expect(tensors.get("x")).toEqual({ dtype: "F32", shape: [3], begin: 0, end: 12 });
  });

  test("a file without tensors and empty tensors are valid", () => {
    expect(readSafetensors(fileOf("{}")).tensors.size).toBe(0);
    const header = JSON.stringify({ x: f32([0, 5], 0, 0), y: f32([1], 0, 4), z: f32([0], 4, 4) });
    expect([...readSafetensors(fileOf(header, 4)).tensors.keys()]).toEqual(["x", "y", "z"]);
  });

  test("equal keys in different objects, and keys inside strings, are not duplicates", () => {
    const header = String.raw`{"__metadata__":{"x":"{\"x\":1,\"x\":2}","dtype":"\\"},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`;
    expect(readSafetensors(fileOf(header, 4)).metadata.dtype).toBe("\\");
  });
});

describe("invalid headers are rejected:", () => {
  const x = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
  const cases: [string, Uint8Array, RegExp][] = [
    ["no bytes", new Uint8Array(0), /0 bytes are too few/],
    ["seven bytes", new Uint8Array(7), /7 bytes are too few/],
    ["a length of 2^64 - 1", fileOf("{}", 0, 2n ** 64n - 1n), /more than 64 MiB/],
    ["a length over the bound", fileOf("{}", 0, 2n ** 26n + 1n), /more than 64 MiB/],
    ["a length over the file", fileOf("{}", 0, 3n), /header of 3 bytes in a file of 10 bytes/],
    ["not JSON", fileOf("{nope}"), /not JSON/],
    ["cut JSON", fileOf('{"a":'), /not JSON/],
    ["an empty header", fileOf(""), /not JSON/],
    ["invalid UTF-8", fileOf(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /not JSON/],
    ["a byte order mark", fileOf("\ufeff{}"), /not JSON/],
    ["two values", fileOf("{}{}"), /not JSON/],
    ["deep nesting", fileOf("[".repeat(1_000_000)), /not JSON/],
    ["a list", fileOf("[]"), /not a JSON object/],
    ["null", fileOf("null"), /not a JSON object/],
    ["a duplicate name", fileOf(`{"x":${x},"x":${x}}`, 4), /"x" appears twice/],
    ["a duplicate name, escaped", fileOf(`{"x":${x}, "\\u0078" :${x}}`, 4), /"x" appears twice/],
    ["duplicate metadata", fileOf('{"__metadata__":{},"__metadata__":{}}'), /"__metadata__" appears twice/],
    [
      "a duplicate inside",
      fileOf(`{"x":{"dtype":"F32","dtype":"I8","shape":[4],"data_offsets":[0,4]}}`, 4),
      /"dtype"/,
    ],
    ["__proto__ as a name", fileOf(`{"__proto__":${x}}`, 4), /"__proto__" is not a valid name/],
    ["__proto__ in a tensor", fileOf(`{"x":{"__proto__":${x}}}`, 4), /"__proto__" is not a valid name/],
    [
      "__proto__ in metadata",
      fileOf('{"__metadata__":{"__proto__":"y"}}'),
      /"__proto__" is not a valid name/,
    ],
    ["metadata that is a list", fileOf('{"__metadata__":[]}'), /__metadata__ is not an object/],
    ["metadata of numbers", fileOf('{"__metadata__":{"k":1}}'), /"k" is not a string/],
    ["a tensor that is null", fileOf('{"x":null}'), /tensor "x": is not an object/],
    ["a tensor without fields", fileOf('{"x":{}}'), /tensor "x": the dtype is undefined/],
    ["an unknown dtype", fileOf('{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', 4), /F8_E4M3/],
    [
      "an inherited dtype",
      fileOf('{"x":{"dtype":"constructor","shape":[4],"data_offsets":[0,4]}}', 4),
      /constructor/,
    ],
    ...(
      [
        ["no shape", f32(undefined, 0, 4), /tensor "x": the shape/],
        ["a shape of text", f32(["1"], 0, 4), /tensor "x": the shape/],
        ["a broken dimension", f32([1.5], 0, 6), /tensor "x": the shape/],
        ["a negative dimension", f32([-1], 0, 4), /tensor "x": the shape/],
        ["two negative dimensions", f32([-1, -1], 0, 4), /tensor "x": the shape/],
        ["a huge dimension", f32([1e300], 0, 4), /tensor "x": the shape/],
        ["a shape that overflows", f32([2 ** 40, 2 ** 40], 0, 4), /more bytes than can be counted/],
        ["an overflow hidden by a zero", f32([2 ** 40, 2 ** 40, 0], 0, 0), /more bytes than can be counted/],
        ["an overflow modulo 2^64", f32([2 ** 32, 2 ** 32, 1], 0, 4), /more bytes than can be counted/],
        ["too few bytes for the shape", f32([2], 0, 4), /F32 \[2\] needs 8 bytes, the offsets give it 4/],
        ["too many bytes for the shape", f32([0], 0, 4), /needs 0 bytes, the offsets give it 4/],
        ["no offsets", { dtype: "F32", shape: [1] }, /data_offsets/],
        ["three offsets", f32([1], 0, 4, 4), /data_offsets/],
        ["a negative offset", f32([1], -4, 0), /data_offsets/],
        ["broken offsets", f32([1], 0.5, 4.5), /data_offsets/],
        ["offsets the wrong way round", f32([1], 4, 0), /begins at 4, after its end 0/],
        ["an end beyond the file", f32([2], 0, 8), /ends at 8, the file's data at 4/],
      ] as [string, unknown, RegExp][]
    ).map(([name, tensor, message]): [string, Uint8Array, RegExp] => [
      name,
      fileOf(JSON.stringify({ x: tensor }), 4),
      message,
    ]),
    ["an overlap", fileOf(JSON.stringify({ x: f32([2], 0, 8), y: f32([1], 4, 8) }), 8), /"y" overlaps "x"/],
    [
      "the same bytes twice",
      fileOf(JSON.stringify({ x: f32([1], 0, 4), y: f32([1], 0, 4) }), 4),
      /"y" overlaps "x"/,
    ],
    ["a hole at the start", fileOf(JSON.stringify({ x: f32([1], 4, 8) }), 8), /"x" leaves a hole of 4 bytes/],
    [
      "a hole between",
      fileOf(JSON.stringify({ x: f32([1], 0, 4), y: f32([1], 8, 12) }), 12),
      /"y" leaves a hole/,
    ],
    [
      "bytes at the end",
      fileOf(JSON.stringify({ x: f32([1], 0, 4) }), 5),
      /1 bytes follow the last tensor, "x"/,
    ],
    ["bytes without tensors", fileOf("{}", 3), /3 bytes follow the last tensor, the header/],
  ];
  for (const [name, bytes, message] of cases) {
    test(name, () => expectError(() => readSafetensors(bytes), "format", message));
  }

  test("errors name the file and stay short", async () => {
    const bytes = fileOf(`{"${"x".repeat(1e6)}":null}`);
    const error = await expectError(
      () => readSafetensors(bytes, "a.safetensors"),
      "format",
      /^a\.safetensors: /,
    );
    expect(error.message.length).toBeLessThan(300);
  });

  test("a changed byte anywhere in the header gives a ReflowError or another valid header", () => {
    const bytes = writeSafetensors(
      new Map<string, TensorData>([
        ["a", { dtype: "F32", shape: [2, 1], data: Float32Array.of(1, 2) }],
        ["b.scale", { dtype: "I8", shape: [8], data: new Int8Array(8) }],
      ]),
      { identity: "x" },
    );
    const end = bytes.length - 16;
    fc.assert(
      fc.property(fc.nat(end - 1), fc.nat(255), fc.nat(255), (at, first, second) => {
        const changed = bytes.slice();
        changed[at] = first;
        if (at + 1 < end) changed[at + 1] = second;
        try {
          for (const { dtype, shape, data } of readSafetensors(changed).tensors.values()) {
            expect(data).toBeInstanceOf(arrayOf(dtype));
            expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ReflowError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("writing", () => {
  const tensor = fc
    .record({
      dtype: fc.constantFrom(
        "F32" as const,
        "F16" as const,
        "BF16" as const,
        "I8" as const,
        "I32" as const,
        "U8" as const,
        "I64" as const,
      ),
      shape: fc.array(fc.nat(5), { maxLength: 3 }),
      fill: fc.uint8Array({ minLength: 1, maxLength: 16 }),
    })
    .map(({ dtype, shape, fill }): TensorData => {
      const elements = shape.reduce((a, b) => a * b, 1);
      const bytes = new Uint8Array(elements * arrayOf(dtype).BYTES_PER_ELEMENT).map(
        (_, i) => fill[i % fill.length],
      );
      return { dtype, shape, data: new (arrayOf(dtype))(bytes.buffer) };
    });
  const name = fc.oneof(
    fc.string(),
    fc.constantFrom("0", "7", "constructor", "toString", 'quo"te\\', "é\u0000😀", ""),
  );
  const isName = (key: string) => key !== "__proto__" && key !== "__metadata__";
  const bytesOfTensor = ({ data }: TensorData) =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

  test("written tensors are read back to the bit, with data at a multiple of 8", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(name.filter(isName), tensor), { selector: ([key]) => key, maxLength: 6 }),
        fc.dictionary(fc.string().filter(isName), fc.string(), { noNullPrototype: true }),
        (entries, metadata) => {
          const tensors = new Map(entries);
          const bytes = writeSafetensors(tensors, metadata);
          expect(parseHeader(bytes, bytes.length).dataStart % 8).toBe(0);
          const read = readSafetensors(bytes);
          expect(read.metadata).toEqual(metadata);
          expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.keys()));
          for (const [key, { dtype, shape, data }] of read.tensors) {
            const wanted = tensors.get(key)!;
            expect({ dtype, shape }).toEqual({ dtype: wanted.dtype, shape: wanted.shape });
            expect(data.constructor).toBe(wanted.data.constructor);
            expect(bytesOfTensor({ dtype, shape, data })).toEqual(bytesOfTensor(wanted));
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("the same tensors give the same bytes, readable by other tools", () => {
    const bytes = writeSafetensors(
      new Map([["w", { dtype: "F32", shape: [1, 2], data: Float32Array.of(1, 2) }]]),
    );
    const json = '{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}';
    const length = Math.ceil(json.length / 8) * 8;
    expect(Buffer.from(bytes).toString("latin1")).toBe(
      `${String.fromCharCode(length)}${"\0".repeat(7)}${json.padEnd(length)}\0\0\x80\x3f\0\0\0\x40`,
    );
  });

  test("invalid names and arrays of the wrong size throw a RangeError", () => {
    const entry = { dtype: "F32", shape: [1] } as const;
    for (const name of ["__proto__", "__metadata__"]) {
      expect(() => encodeHeader([{ name, ...entry }])).toThrow(RangeError);
    }
    const twice = [
      { name: "toString", ...entry },
      { name: "toString", ...entry },
    ];
    expect(() => encodeHeader(twice)).toThrow(RangeError);
    expect(encodeHeader(twice.slice(1)).length % 8).toBe(0);
    const wrong: TensorData[] = [
      { ...entry, data: new Float32Array(2) },
      { ...entry, data: new Int32Array(1) },
    ];
    for (const data of wrong) expect(() => writeSafetensors(new Map([["x", data]]))).toThrow(RangeError);
  });
});
