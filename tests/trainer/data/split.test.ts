import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { DocumentPart } from "../../../trainer/data/documents.ts";
import { heldOutCut, heldOutSize, sliceDocuments } from "../../../trainer/data/split.ts";
import { errorText } from "./expect-error.ts";

const parts = (...texts: string[]): DocumentPart[] => texts.map((text) => ({ text, ends: true }));
const join = (found: Iterable<DocumentPart>) =>
  Array.from(found, ({ text, ends }) => text + (ends ? "|" : "")).join("");

test("1% is held out, and up to a tenth of small data", () => {
  expect(heldOutSize(1_000_000, 500)).toBe(10_000);
  expect(heldOutSize(10_000, 500)).toBe(500);
  expect(heldOutSize(1_000, 500)).toBe(100);
});

describe("heldOutCut", () => {
  test("holds out the fewest whole documents at the end", () => {
    const texts = Array.from({ length: 50 }, (_, i) => `${"word ".repeat(10 * i + 10)}.`);
    const cut = heldOutCut(() => parts(...texts));
    const total = texts.join("").length;
    const heldOut = join(sliceDocuments(parts(...texts), cut, Number.POSITIVE_INFINITY))
      .split("|")
      .slice(0, -1);
    expect(heldOut).toEqual(texts.slice(-heldOut.length));
    const length = heldOut.join("").length;
    expect(length).toBeGreaterThanOrEqual(total / 10);
    expect(length - heldOut[0].length).toBeLessThan(total / 10);
  });

  test("cuts a single document before a word", () => {
    const text = "word ".repeat(2_000).trim();
    const cut = heldOutCut(() => parts(text));
    expect(text.slice(cut, cut + 5)).toBe(" word");
    expect(text.length - cut).toBeGreaterThanOrEqual(1000);
    expect(text.length - cut).toBeLessThan(1010);
  });

  test("finds the word in an earlier part", () => {
    const pieces = [`${"a".repeat(890)} b`, "c".repeat(30), "d".repeat(78)];
    const cut = heldOutCut(() => pieces.map((text, i) => ({ text, ends: i === 2 })));
    expect(cut).toBe(890);
  });

  test("cuts text without spaces between characters", () => {
    const cut = heldOutCut(() => parts("😀".repeat(5_001)));
    expect(cut % 2).toBe(0);
    expect(cut).toBeGreaterThan(8_000);
  });

  test("fails for a single character", async () => {
    expect(await errorText("data", () => heldOutCut(() => parts("x")))).toContain("a text of 1 characters");
  });
});

test("concatenated slices are the whole text", () => {
  const part = fc.record({
    text: fc.string({ minLength: 1, maxLength: 5, unit: "binary-ascii" }),
    ends: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), fc.nat(40), (found, at) => {
      const total = found.reduce((sum, { text }) => sum + text.length, 0);
      const cut = at % (total + 1);
      const before = [...sliceDocuments(found, 0, cut)];
      const after = [...sliceDocuments(found, cut, total)];
      const text = (of: DocumentPart[]) => of.map((one) => one.text).join("");
      expect(text(before).length).toBe(cut);
      expect(text(before) + text(after)).toBe(text(found));
      if (before.length > 0) expect(before.at(-1)!.ends).toBe(true);
      expect([...before, ...after].every((one) => one.text.length > 0)).toBe(true);
    }),
  );
});
