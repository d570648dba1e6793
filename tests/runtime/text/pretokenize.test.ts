import { expect, test } from "bun:test";
import fc from "fast-check";
import { pretokenEnd } from "../../../runtime/text/pretokenize.ts";
import { oddText, PATTERN } from "./generators.ts";

function pretokens(text: string): string[] {
  const words: string[] = [];
  for (let start = 0; start < text.length; ) {
    const end = pretokenEnd(text, start);
    words.push(text.slice(start, end));
    start = end;
  }
  return words;
}

test.each([
  ["Hello world", ["Hello", " world"]],
  ["I'll say it's 42, y'all've", ["I", "'ll", " say", " it", "'s", " 42", ",", " y", "'", "all", "'ve"]],
  ["'S 's 'tis", ["'", "S", " '", "s", " '", "tis"]],
  ["'tis", ["'t", "is"]],
  ["I'm I'd we're", ["I", "'m", " I", "'d", " we", "'re"]],
  ["two  spaces", ["two", " ", " spaces"]],
  ["line\n\nline", ["line", "\n", "\n", "line"]],
  ["a \n b", ["a", " \n", " b"]],
  ["tab\tx", ["tab", "\t", "x"]],
  ["end   ", ["end", "   "]],
  [" ", [" "]],
  ["don't!? 3.14", ["don", "'t", "!?", " 3", ".", "14"]],
  ["x²½٣", ["x", "²½٣"]],
  // A combining accent and an emoji are neither letters nor numbers.
  ["e\u0301 😀😀a", ["e", "\u0301", " 😀😀", "a"]],
  // Unicode's White_Space includes U+0085 and not U+FEFF; JavaScript's \s is the reverse.
  ["a\u0085\u0085b\ufeff\ufeffc", ["a", "\u0085", "\u0085", "b", "\ufeff\ufeff", "c"]],
])("%j is split as in GPT-2", (text, words) => {
  expect(pretokens(text)).toEqual(words);
});

test("any text is split into the matches of the pattern", () => {
  fc.assert(
    fc.property(oddText, (text) => {
      expect(pretokens(text)).toEqual(text.match(PATTERN) ?? []);
    }),
    { numRuns: 1000 },
  );
});

test("every character has the class of the pattern", () => {
  for (let first = 0; first < 0x30000; first += 0x400) {
    let text = "";
    for (let code = first; code < first + 0x400; code++) text += `a${String.fromCodePoint(code)}1`;
    const ours = pretokens(text).join("|");
    if (ours !== text.match(PATTERN)?.join("|")) throw new Error(`differs near U+${first.toString(16)}`);
  }
});
