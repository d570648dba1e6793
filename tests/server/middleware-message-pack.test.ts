import { expect, test } from "bun:test";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { decodeMessagePack, encodeMessagePack, plain } from "../../server/middleware/message-pack.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);
const refused = (message: Uint8Array, why: RegExp, depth = 32) =>
  expect(() => decodeMessagePack(message, depth)).toThrow(why);

test("JSON values of any size round-trip", () => {
  const long = { text: "ü".repeat(70_000), list: Array.from({ length: 70_000 }, (_, i) => i) };
  expect(plain(decodeMessagePack(encodeMessagePack(long), 32))).toEqual(long);
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const expected = JSON.parse(JSON.stringify(value));
      // msgpackr does not set `__proto__`.
      fc.pre(!JSON.stringify(value).includes("__proto__"));
      expect(plain(decodeMessagePack(encodeMessagePack(value), 32))).toEqual(expected);
    }),
  );
});

test("typed arrays are encoded as such, and decode to numbers", () => {
  const arrays = [
    Int8Array.of(-1, 2),
    Uint8Array.of(1, 255),
    Int16Array.of(-300),
    Uint16Array.of(1, 2, 3),
    Int32Array.of(-70_000, 1),
    Uint32Array.of(4e9),
    Float32Array.of(0.5, -1.25, Number.NaN),
    Float64Array.of(),
  ];
  const decoded = decodeMessagePack(encodeMessagePack({ arrays }), 32) as { arrays: Float32Array[] };
  expect(decoded.arrays.map((array) => array.BYTES_PER_ELEMENT)).toEqual([1, 1, 2, 2, 4, 4, 4, 8]);
  expect(plain(decoded)).toEqual({ arrays: arrays.map((array) => Array.from(array)) });
});

test("undefined properties are omitted, as in JSON", () => {
  expect(plain({ a: undefined, b: [1, null] })).toEqual({ b: [1, null] });
  expect(Object.keys(decodeMessagePack(encodeMessagePack({ a: undefined, b: 1 }), 4) as object)).toEqual([
    "b",
  ]);
});

test("64-bit integers decode to numbers", () => {
  expect(decodeMessagePack(bytes(0xcf, 0, 0, 0, 1, 0, 0, 0, 0), 4)).toBe(2 ** 32);
  expect(decodeMessagePack(bytes(0xd3, 255, 255, 255, 255, 255, 255, 255, 254), 4)).toBe(-2);
});

test("every msgpackr extension other than typed arrays is refused", () => {
  const packr = new Packr({ useRecords: true, moreTypes: true, structuredClone: true, bundleStrings: true });
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const values = [new Set([1]), new Date(), /x/, new Error("no"), { a: 1 }, cyclic, new Map([[1, 2]])];
  for (const value of values) refused(packr.pack(value) as Uint8Array, /extension|bytes follow|not a string/);
  for (let type = 0; type < 256; type++) {
    const why = /extension|ends inside|byte \d+ is not a valid type/;
    refused(bytes(0xd4, type, 0x90), type === 0x74 ? /extension 116/ : why);
    refused(bytes(0xc7, 1, type, 0x90), why);
    refused(bytes(0xc9, 255, 255, 255, 255, type, 1), /the input ends inside/);
  }
  refused(encodeMessagePack(BigInt64Array.of(1n)), /extension 116 at byte 0 is not supported/);
  refused(bytes(0xc7, 4, 0x74, 7, 0, 0, 0), /ends inside an element/);
});

test("declared lengths are checked against the available bytes", () => {
  for (const head of [0xdd, 0xdf, 0xdb, 0xc6])
    refused(bytes(head, 255, 255, 255, 255), /the input ends inside/);
  for (const head of [0xdc, 0xde, 0xda, 0xc5]) refused(bytes(head, 255, 255, 1), /ends inside|not a string/);
  refused(bytes(), /the input ends inside the value at byte 0/);
  refused(bytes(0xc1), /byte 0 is not a valid type/);
  refused(bytes(0x90, 0xc0), /1 bytes follow the value/);
  refused(bytes(0x81, 0x01, 0x01), /the key at byte 1 is not a string/);
});

test("nesting depth is bounded for arrays and for maps", () => {
  const nested = (head: number[], levels: number) =>
    Uint8Array.from([...Array(levels).fill(head), 0xc0].flat());
  expect(decodeMessagePack(nested([0x91], 32), 32)).toBeDefined();
  refused(nested([0x91], 33), /nested too deeply at byte 32/);
  refused(nested([0x81, 0xa1, 0x61], 33), /nested too deeply/);
  refused(nested([0x91], 1_000_000), /nested too deeply/);
});

test("arbitrary bytes give a value or an error without delay", () => {
  const decode = (message: Uint8Array) => {
    try {
      plain(decodeMessagePack(message, 32));
    } catch (error) {
      expect((error as Error).message).toMatch(/byte|extension|nested/);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), decode), { numRuns: 2000 });
  const whole = encodeMessagePack({
    a: [1, "two", { b: Float32Array.of(1, 2) }],
    c: -1e9,
    d: "x".repeat(300),
  });
  const damaged = fc
    .tuple(fc.nat(whole.length - 1), fc.nat(255))
    .map(([at, byte]) => whole.slice().fill(byte, at, at + 1));
  fc.assert(fc.property(damaged, decode), { numRuns: 2000 });
});

test("invalid UTF-8 is refused in values and in keys", () => {
  refused(bytes(0xa2, 0xff, 0xfe), /the text at byte 0 is not UTF-8/);
  refused(bytes(0x81, 0xa1, 0xff, 0x01), /the text at byte 1 is not UTF-8/);
  refused(bytes(0xd9, 0x02, 0xc3, 0x28), /is not UTF-8/);
  expect(decodeMessagePack(bytes(0xd9, 0x02, 0xc3, 0xbc), 1)).toBe("ü");
});
