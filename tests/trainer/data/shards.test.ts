import { describe, expect, test } from "bun:test";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { openTokens, sliceTokens } from "../../../trainer/data/shards.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { errorText } from "./expect-error.ts";

const uint16 = (ids: number[]) => new Uint8Array(Uint16Array.from(ids).buffer);
const uint32 = (ids: number[]) => new Uint8Array(Uint32Array.from(ids).buffer);

/** A file in llm.c's format: 256 int32, then the ids. */
function llmc(magic: number, version: number, count: number, ids: Uint8Array): Uint8Array {
  const header = new Int32Array(256);
  header.set([magic, version, count]);
  return Buffer.concat([new Uint8Array(header.buffer), ids]);
}

const V = 200_000;

function readAll(files: Record<string, Uint8Array>, type?: "uint16" | "uint32"): number[] {
  const folder = temporaryFolder(files);
  const source = openTokens(
    Object.keys(files).map((name) => join(folder, name)),
    { vocabSize: V, type },
  );
  const ids = new Int32Array(source.length);
  source.read(0, ids);
  source.close();
  return [...ids];
}

describe("formats", () => {
  test("nanoGPT's bare uint16, little-endian", () => {
    expect(readAll({ "train.bin": Uint8Array.of(1, 2, 0xff, 0xff) })).toEqual([0x0201, 0xffff]);
  });

  test("bare uint32, if specified", () => {
    expect(readAll({ "train-000.bin": uint32([7, 70_000]) }, "uint32")).toEqual([7, 70_000]);
  });

  test("llm.c's two headers", () => {
    expect(readAll({ "a.bin": llmc(20240520, 1, 3, uint16([5, 50_256, 6])) })).toEqual([5, 50_256, 6]);
    expect(readAll({ "a.bin": llmc(20240801, 7, 2, uint32([128_000, 6])) })).toEqual([128_000, 6]);
  });

  test("shards of both kinds form one sequence", () => {
    const files = {
      "a.bin": uint16([1, 2]),
      "b.bin": llmc(20240520, 1, 1, uint16([3])),
      "c.bin": uint16([4]),
    };
    expect(readAll(files)).toEqual([1, 2, 3, 4]);
  });
});

test("any range of any shards", () => {
  const shards = fc.array(fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 20 }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(shards, fc.nat(), fc.nat(), (contents, a, b) => {
      const folder = temporaryFolder(Object.fromEntries(contents.map((ids, i) => [`${i}.bin`, uint16(ids)])));
      const source = openTokens(
        contents.map((_, i) => join(folder, `${i}.bin`)),
        { vocabSize: 65536 },
      );
      const all = contents.flat();
      const start = a % all.length;
      const into = new Int32Array(b % (all.length - start + 1));
      source.read(start, into);
      expect([...into]).toEqual(all.slice(start, start + into.length));
      const slice = sliceTokens(source, start, all.length - start);
      slice.read(0, into);
      expect([...into]).toEqual(all.slice(start, start + into.length));
      source.close();
    }),
    { numRuns: 50 },
  );
});

test("a read longer than the buffer", () => {
  const ids = Array.from({ length: 100_000 }, (_, i) => i % 50_000);
  expect(Bun.deepEquals(readAll({ "a.bin": uint16(ids) }), ids)).toBe(true);
});

describe("invalid files are an error", () => {
  const cases: Record<string, [Uint8Array, string]> = {
    "an empty file": [new Uint8Array(), "the file is empty"],
    "an odd size": [new Uint8Array(7), "7 bytes are not a whole number of uint16 ids"],
    "fewer tokens than the header says": [
      llmc(20240520, 1, 3, uint16([1, 2])),
      "says 3 tokens (1030 bytes), but the file has 1028 bytes",
    ],
    "more tokens than the header says": [llmc(20240520, 1, 1, uint16([1, 2])), "says 1 tokens"],
    "a header alone": [llmc(20240801, 7, 0, uint32([])), "says 0 tokens"],
    "a negative count": [llmc(20240801, 7, -1, uint32([])), "says -1 tokens"],
    "a truncated header": [llmc(20240520, 1, 3, uint16([1])).subarray(0, 100), "says 3 tokens"],
    "another version": [
      llmc(20240801, 1, 1, uint32([1])),
      "version 1 of llm.c's format 20240801 is not supported\nexpected version 7",
    ],
  };
  for (const [name, [data, expected]] of Object.entries(cases)) {
    test(name, async () => {
      const text = await errorText("data", () => readAll({ "good.bin": uint16([1]), "bad.bin": data }));
      expect(text).toContain("bad.bin: ");
      expect(text).toContain(expected);
    });
  }

  test("a missing file", async () => {
    const missing = join(temporaryFolder(), "train.bin");
    expect(await errorText("data", () => openTokens(missing, { vocabSize: V }))).toContain(
      `${missing}: no such file`,
    );
  });

  test("an id outside the vocabulary, with its position in its file", async () => {
    const folder = temporaryFolder({ "a.bin": uint16([1, 2]), "b.bin": uint16([9, 10, 11]) });
    const source = openTokens([join(folder, "a.bin"), join(folder, "b.bin")], { vocabSize: 10 });
    source.read(0, new Int32Array(3));
    const text = await errorText("data", () => source.read(1, new Int32Array(3)));
    expect(text).toContain("b.bin: token 1 is 10, but the vocabulary has 10 tokens");
    source.close();
  });

  test("a file truncated after it was opened", async () => {
    const file = join(temporaryFolder({ "a.bin": uint16([1, 2, 3]) }), "a.bin");
    const source = openTokens(file, { vocabSize: 10 });
    truncateSync(file, 4);
    expect(await errorText("data", () => source.read(0, new Int32Array(3)))).toContain("ends before byte 6");
    source.close();
  });

  test("positions out of range throw a RangeError", () => {
    const file = join(temporaryFolder(), "a.bin");
    writeFileSync(file, uint16([1, 2, 3]));
    const source = openTokens(file, { vocabSize: 10 });
    expect(() => source.read(1, new Int32Array(3))).toThrow(RangeError);
    expect(() => source.read(-1, new Int32Array(1))).toThrow(RangeError);
    expect(() => sliceTokens(source, 1, 3)).toThrow(RangeError);
    expect(() => sliceTokens(source, 0, 2).read(1, new Int32Array(2))).toThrow(RangeError);
    source.close();
  });
});
