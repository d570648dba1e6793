import { expect, test } from "bun:test";
import fc from "fast-check";
import { WordTable } from "../../../runtime/text/word-table.ts";

test("numbers words like a Map", () => {
  const word = fc.string({
    unit: fc.constantFrom("a", "b", "é", "漢", "😀", "\0", "\ufeff"),
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.array(word, { maxLength: 100 }), (words) => {
      const table = new WordTable();
      const model = new Map<string, number>();
      const text = words.join("");
      let start = 0;
      for (const word of words) {
        if (!model.has(word)) model.set(word, model.size);
        expect(table.add(text, start, start + word.length)).toBe(model.get(word)!);
        start += word.length;
      }
      expect(table.size).toBe(model.size);
      for (const [word, number] of model) expect(table.text(number)).toBe(word);
    }),
  );
});

test("grows with the number and the length of words", () => {
  const table = new WordTable();
  const words = Array.from({ length: 20_000 }, (_, i) => `word ${i}`);
  words.push("x".repeat(1_000_000));
  for (const [i, word] of words.entries()) expect(table.add(word, 0, word.length)).toBe(i);
  for (const [i, word] of words.entries()) expect(table.add(word, 0, word.length)).toBe(i);
  expect(table.text(12_345)).toBe("word 12345");
});

test("different lone surrogates are different words with the same text", () => {
  const table = new WordTable();
  expect([table.add("\ud800", 0, 1), table.add("\udc00", 0, 1), table.add("\ud800", 0, 1)]).toEqual([
    0, 1, 0,
  ]);
  expect([table.text(0), table.text(1)]).toEqual(["\ufffd", "\ufffd"]);
});
