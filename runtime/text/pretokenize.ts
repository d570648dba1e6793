/**
 * GPT-2's pre-tokenization (Radford et al. 2019): text is split into words, and no token spans two words. The words are
 * the matches of
 *
 *     '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * with `\s` as Unicode's White_Space, as in Python, Rust and Oniguruma. (JavaScript's own `\s` includes U+FEFF and lacks
 * U+0085.) This is a scanner because V8's RegExp overflows its stack on some megabytes of emoji or Chinese without a
 * space. Character classes depend on the Unicode version of the engine.
 */

const WHITE = 1;
const LETTER = 2;
const NUMBER = 3;
const OTHER = 4;

/** The class of each code point, determined at its first occurrence; 0 until then. */
const classes = new Uint8Array(0x110000);

function classify(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  if (/\p{L}/u.test(character)) return LETTER;
  if (/\p{N}/u.test(character)) return NUMBER;
  return /\p{White_Space}/u.test(character) ? WHITE : OTHER;
}

/** The class of the character at `index`. A lone surrogate is OTHER, like U+FFFD, as which it is encoded. */
function classAt(text: string, index: number): number {
  const codePoint = text.codePointAt(index)!;
  if (classes[codePoint] === 0) classes[codePoint] = classify(codePoint);
  return classes[codePoint];
}

const SPACE = 0x20;
const APOSTROPHE = 0x27;

/** The length of the part of a contraction after the apostrophe at `index - 1`, or 0 if it is not a contraction. */
function contraction(text: string, index: number): number {
  const first = text[index];
  if (first === "s" || first === "d" || first === "m" || first === "t") return 1;
  const two = text.slice(index, index + 2);
  return two === "ll" || two === "ve" || two === "re" ? 2 : 0;
}

/** The end of the pre-token that begins at `start`, which must be the end of the previous one and before the end of the text. */
export function pretokenEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === APOSTROPHE) {
    const length = contraction(text, start + 1);
    if (length) return start + 1 + length;
  }
  let end = start;
  let kind = classAt(text, start);
  // A single space belongs to the word that follows it.
  if (first === SPACE && start + 1 < text.length) {
    const next = classAt(text, start + 1);
    if (next !== WHITE) {
      kind = next;
      end = start + 1;
    }
  }
  do end += text.codePointAt(end)! > 0xffff ? 2 : 1;
  while (end < text.length && classAt(text, end) === kind);
  // The last character of white space before a word belongs to the word: `\s+(?!\S)`.
  return kind === WHITE && end < text.length && end - start > 1 ? end - 1 : end;
}
