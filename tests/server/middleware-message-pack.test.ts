import { expect, test } from "bun:test";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { decodeMessagePack, encodeMessagePack, plain } from "../../server/middleware/message-pack.ts";

const bytes = (...values: number[]) => Uint8Array.from(values);
const refused = (message: Uint8Array, why: RegExp, depth = 32) =>
  expect(() => decodeMessagePack(message, depth)).toThrow(why);

test("what JSON can say comes back the same, whatever its size", () => {
  const long = { text: "ü".repeat(70_000), list: Array.from({ length: 70_000 }, (_, i) => i) };
  expect(plain(decodeMessagePack(encodeMessagePack(long), 32))).toEqual(long);
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const expected = JSON.parse(JSON.stringify(value));
      // msgpackr keeps objects from the name by which prototypes are reached.
      fc.pre(!JSON.stringify(value).includes("__proto__"));
      expect(plain(decodeMessagePack(encodeMessagePack(value), 32))).toEqual(expected);
    }),
  );
});

test("typed arrays go out as they are, and come in as numbers", () => {
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

test("what is undefined is left out, as in JSON", () => {
  expect(plain({ a: undefined, b: [1, null] })).toEqual({ b: [1, null] });
  expect(Object.keys(decodeMessagePack(encodeMessagePack({ a: undefined, b: 1 }), 4) as object)).toEqual([
    "b",
  ]);
});

test("whole numbers of 64 bits are numbers", () => {
  expect(decodeMessagePack(bytes(0xcf, 0, 0, 0, 1, 0, 0, 0, 0), 4)).toBe(2 ** 32);
  expect(decodeMessagePack(bytes(0xd3, 255, 255, 255, 255, 255, 255, 255, 254), 4)).toBe(-2);
});

test("extensions other than typed arrays are refused: each that msgpackr knows", () => {
  const packr = new Packr({ useRecords: true, moreTypes: true, structuredClone: true, bundleStrings: true });
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const values = [new Set([1]), new Date(), /x/, new Error("no"), { a: 1 }, cyclic, new Map([[1, 2]])];
  for (const value of values) refused(packr.pack(value) as Uint8Array, /extension|bytes follow|no text/);
  for (let type = 0; type < 256; type++) {
    const why = /extension|ends within|byte \d+ begins no value/;
    refused(bytes(0xd4, type, 0x90), type === 0x74 ? /extension 116/ : why);
    refused(bytes(0xc7, 1, type, 0x90), why);
    refused(bytes(0xc9, 255, 255, 255, 255, type, 1), /it ends within/);
  }
  refused(encodeMessagePack(BigInt64Array.of(1n)), /extension 116 at byte 0 is not one for numbers/);
  refused(bytes(0xc7, 4, 0x74, 7, 0, 0, 0), /ends within a number/);
});

test("lengths are believed only as far as there are bytes", () => {
  for (const head of [0xdd, 0xdf, 0xdb, 0xc6]) refused(bytes(head, 255, 255, 255, 255), /it ends within/);
  for (const head of [0xdc, 0xde, 0xda, 0xc5]) refused(bytes(head, 255, 255, 1), /ends within|no text/);
  refused(bytes(), /it ends within the value at byte 0/);
  refused(bytes(0xc1), /byte 0 begins no value/);
  refused(bytes(0x90, 0xc0), /1 bytes follow the value/);
  refused(bytes(0x81, 0x01, 0x01), /the key at byte 1 is no text/);
});

test("nesting is bounded, of lists and of maps", () => {
  const nested = (head: number[], levels: number) =>
    Uint8Array.from([...Array(levels).fill(head), 0xc0].flat());
  expect(decodeMessagePack(nested([0x91], 32), 32)).toBeDefined();
  refused(nested([0x91], 33), /nested too deeply at byte 32/);
  refused(nested([0x81, 0xa1, 0x61], 33), /nested too deeply/);
  refused(nested([0x91], 1_000_000), /nested too deeply/);
});

test("any bytes are a value or an error, and soon", () => {
  const tries = (message: Uint8Array) => {
    try {
      plain(decodeMessagePack(message, 32));
    } catch (error) {
      expect((error as Error).message).toMatch(/byte|extension|nested/);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), tries), { numRuns: 2000 });
  const whole = encodeMessagePack({
    a: [1, "two", { b: Float32Array.of(1, 2) }],
    c: -1e9,
    d: "x".repeat(300),
  });
  const damaged = fc
    .tuple(fc.nat(whole.length - 1), fc.nat(255))
    .map(([at, byte]) => whole.slice().fill(byte, at, at + 1));
  fc.assert(fc.property(damaged, tries), { numRuns: 2000 });
});

test("text that isn't UTF-8 is refused, in values and in keys", () => {
  refused(bytes(0xa2, 0xff, 0xfe), /the text at byte 0 is not UTF-8/);
  refused(bytes(0x81, 0xa1, 0xff, 0x01), /the text at byte 1 is not UTF-8/);
  refused(bytes(0xd9, 0x02, 0xc3, 0x28), /is not UTF-8/);
  expect(decodeMessagePack(bytes(0xd9, 0x02, 0xc3, 0xbc), 1)).toBe("ü");
});
