import { describe, expect, test } from "bun:test";
import { ReflowError } from "../../../runtime/common/errors.ts";
import * as lists from "../../../runtime/text/word-lists.ts";
import {
  leftOutNote,
  parseAnalogies,
  parseSentences,
  parseSimilarity,
  readWords,
} from "../../../runtime/text/word-sets.ts";
import { toyTokenizer, V } from "../experiments/toy-model.ts";

const id = (word: string) => toyTokenizer.tokenId(` ${word}`)!;
const none = new Int32Array();

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ReflowError);
    return `${(error as ReflowError).code}: ${(error as Error).message}; ${(error as ReflowError).help}`;
  }
  throw new Error("nothing was thrown");
}

describe("built-in lists", () => {
  test("no word is in two categories, and each category has twelve", () => {
    const all = Object.values(lists.CATEGORIES).flat();
    expect(new Set(all).size).toBe(all.length);
    for (const words of Object.values(lists.CATEGORIES)) expect(words.length).toBe(12);
    expect(Object.keys(lists.CATEGORIES).length).toBe(10);
  });

  test("pairs consist of two different words, and no first word of a relation repeats", () => {
    for (const pairs of [lists.SENTIMENT, lists.SIMILAR, ...Object.values(lists.RELATIONS)]) {
      for (const pair of pairs) {
        expect(pair.length).toBe(2);
        expect(pair[0]).not.toBe(pair[1]);
      }
    }
    for (const pairs of Object.values(lists.RELATIONS)) {
      expect(new Set(pairs.map(([first]) => first)).size).toBe(pairs.length);
    }
  });
});

describe("readWords", () => {
  test("a word is its token with a leading space, and has its count in the text", () => {
    const { find, frequency } = readWords(toyTokenizer, V, Int32Array.of(id("king"), 3, id("king")));
    expect(find("king")).toEqual({ text: "king", id: id("king"), count: 2 });
    expect(find("xylophone")).toBeUndefined();
    expect(frequency[3]).toBe(1);
  });

  test("words of several tokens, and words without a row in the model, are left out and counted", () => {
    const sets = {
      analogies:
        ": some\nking queen man woman\nking queen xylophone woman\nking queen man king\n: none\nxylophone b c d",
    };
    const words = readWords(toyTokenizer, V, none, sets);
    expect(words.analogies.map(({ name, questions }) => [name, questions.length])).toEqual([["some", 1]]);
    expect(words.analogies[0].questions[0].map(({ text }) => text)).toEqual([
      "king",
      "queen",
      "man",
      "woman",
    ]);
    expect(words.counts.analogies).toEqual({ kept: 1, leftOut: 3 });
    expect(leftOutNote(words, "analogies", "questions")).toContain("1 of 4 questions");
    expect(words.origin).toEqual({ analogies: "given", similar: "built-in" });
    const fewer = readWords(toyTokenizer, id("six"), none);
    expect(fewer.categories.map(({ name }) => name)).toEqual(["numbers"]);
    expect(fewer.counts.categories).toEqual({ kept: 5, leftOut: 115 });
  });

  test("built-in relations combine every two pairs of a section", () => {
    const { analogies } = readWords(toyTokenizer, V, none);
    expect(analogies.map(({ questions }) => questions.length)).toEqual(Array(6).fill(12 * 11));
    for (const { questions } of analogies) {
      for (const [a, , c, d] of questions) expect(new Set([a.id, c.id, d.id]).size).toBe(3);
    }
  });
});

describe("evaluation sets", () => {
  test("analogies: sections of four words", () => {
    expect(parseAnalogies(": one\r\nA b C d\r\n\r\n: two\r\n e  f g h\r\n")).toEqual([
      { name: "one", questions: [["A", "b", "C", "d"]] },
      { name: "two", questions: [["e", "f", "g", "h"]] },
    ]);
    expect(messageOf(() => parseAnalogies(": one\na b c"))).toContain(
      'format: analogies, line 2: found "a b c"',
    );
    expect(messageOf(() => parseAnalogies("a b c d"))).toContain("section");
    expect(messageOf(() => parseAnalogies("\n \n"))).toContain("no entries");
  });

  test("similarity: two words and a rating separated by tabs, without comments", () => {
    expect(parseSimilarity("# Word 1\tWord 2\told\nold\tnew\t1.58\n")).toEqual([
      { words: ["old", "new"], rating: 1.58 },
    ]);
    for (const line of [
      "old new 1.58",
      "old\tnew",
      "old\tnew\tA\t1",
      "old\tnew\t11",
      "old\tnew\tx",
      "\tnew\t1",
    ]) {
      expect(messageOf(() => parseSimilarity(`a\tb\t1\n${line}`))).toContain("word similarity, line 2");
    }
  });

  test("sentences: a label and a text", () => {
    expect(parseSentences("1 a fine film\n0 dull .\n")).toEqual([
      { text: "a fine film", positive: true },
      { text: "dull .", positive: false },
    ]);
    expect(messageOf(() => parseSentences("1 a\n2 b"))).toContain("sentences, line 2");
    expect(messageOf(() => parseSentences("positive"))).toContain("0 or 1");
    expect(messageOf(() => parseSentences(`1 a\n${"x".repeat(200)}`))).toContain("…");
  });
});
