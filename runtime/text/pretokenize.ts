/**
 * GPT-2's pre-tokenisation (Radford et al. 2019): text is cut into words, and no token crosses a cut. It is what
 *
 *     '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * matches, with `\s` as Unicode's White_Space, as in Python, Rust and Oniguruma (JavaScript's own `\s` has U+FEFF too
 * and lacks U+0085). It is a scanner and not a RegExp because V8's overflows its stack on some megabytes of emoji or
 * Chinese without a space. Which new characters are letters is up to the engine's version of Unicode.
 */

const WHITE = 1;
const LETTER = 2;
const NUMBER = 3;
const OTHER = 4;

/** The class of each code point, found out when it is first met; 0 until then. */
const classes = new Uint8Array(0x110000);

function classify(codePoint: number): number {
  const character = String.fromCodePoint(codePoint);
  if (/\p{L}/u.test(character)) return LETTER;
  if (/\p{N}/u.test(character)) return NUMBER;
  return /\p{White_Space}/u.test(character) ? WHITE : OTHER;
}

/** The class of the character at `index`. A lone surrogate is OTHER, like the U+FFFD it will be encoded as. */
function classAt(text: string, index: number): number {
  const codePoint = text.codePointAt(index)!;
  if (classes[codePoint] === 0) classes[codePoint] = classify(codePoint);
  return classes[codePoint];
}

const SPACE = 0x20;
const APOSTROPHE = 0x27;

/** The length of what follows an apostrophe at `index - 1` in a contraction; 0 if it is none. */
function contraction(text: string, index: number): number {
  const first = text[index];
  if (first === "s" || first === "d" || first === "m" || first === "t") return 1;
  const two = text.slice(index, index + 2);
  return two === "ll" || two === "ve" || two === "re" ? 2 : 0;
}

/** Where the pre-token that begins at `start` ends. `start` must be the end of the one before, and before the text's. */
export function pretokenEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === APOSTROPHE) {
    const length = contraction(text, start + 1);
    if (length) return start + 1 + length;
  }
  let end = start;
  let kind = classAt(text, start);
  // One space belongs to the word after it.
  if (first === SPACE && start + 1 < text.length) {
    const next = classAt(text, start + 1);
    if (next !== WHITE) {
      kind = next;
      end = start + 1;
    }
  }
  do end += text.codePointAt(end)! > 0xffff ? 2 : 1;
  while (end < text.length && classAt(text, end) === kind);
  // Of white space before a word, the last character is left to the word: `\s+(?!\S)`.
  return kind === WHITE && end < text.length && end - start > 1 ? end - 1 : end;
}
