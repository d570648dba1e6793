/** Linear combinations of tokens: `great - terrible`, `0.6 * (" King" - man)`. */
import { ReflowError } from "../common/errors.ts";
import { displayValue, MAX_MAGNITUDE } from "../common/validation.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A token's text and its coefficient in the sum. */
export interface Term {
  text: string;
  coefficient: number;
}

/** Maximum number of tokens that an error lists. */
const MAX_LISTED = 8;
/** Maximum length of an expression in characters: deeply nested parentheses would overflow the call stack. */
const MAX_LENGTH = 1000;

const LEXEME =
  /\s*(?:(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![^\s"()*+/=-])|(?<quoted>"(?:[^"\\]|\\.)*")|(?<symbol>[()*+-])|(?<word>[^\s"()*+/=-]+))\s*/suy;

type Lexeme = { at: number; text: string } & { kind: "number" | "quoted" | "symbol" | "word" | "end" };

/** The value of a part of an expression: a constant, and coefficients by token text. */
interface Linear {
  constant: number;
  terms: Map<string, number>;
}

/**
 * Parses a sum of tokens. A word represents its token with a leading space. A string in double quotes, with JSON's escapes,
 * is the literal text of a token. Numbers are coefficients that multiply with `*`; `"3"` is a token.
 *
 * ```
 * sum     = product (("+" | "-") product)*
 * product = factor ("*" factor)*
 * factor  = "-"* (number | word | quoted | "(" sum ")")
 * ```
 *
 * @param where name of the expression in errors
 * @returns each token once, in order
 * @throws ReflowError `usage` for a syntax error, with its position, for a product of tokens, and for a number added to a
 *   token
 * @example
 * parseExpression("king + 0.5 * (woman - man)");
 * // [{ text: " king", coefficient: 1 }, { text: " woman", coefficient: 0.5 }, { text: " man", coefficient: -0.5 }]
 */
export function parseExpression(expression: string, where = "the expression"): Term[] {
  const fail = (what: string, help = 'write sums such as king + 0.5 * (woman - "man")') =>
    new ReflowError("usage", `${where}: ${what}`, help);
  if (expression.length > MAX_LENGTH)
    throw fail(`${expression.length} characters: expected at most ${MAX_LENGTH}`);
  const lexemes = scan(expression, fail);
  let next = 0;
  const take = (...symbols: string[]): string | undefined => {
    const { kind, text } = lexemes[next];
    if (kind !== "symbol" || !symbols.includes(text)) return undefined;
    next++;
    return text;
  };
  const unexpected = (expected: string) => {
    const { kind, at, text } = lexemes[next];
    return fail(
      `expected ${expected} ${kind === "end" ? "at the end" : `at character ${at + 1}, found ${JSON.stringify(text)}`}`,
    );
  };

  const sum = (): Linear => {
    const total = product();
    for (let sign = take("+", "-"); sign; sign = take("+", "-")) {
      const more = scaled(product(), sign === "-" ? -1 : 1);
      total.constant += more.constant;
      for (const [text, c] of more.terms) total.terms.set(text, (total.terms.get(text) ?? 0) + c);
    }
    return total;
  };
  const product = (): Linear => {
    let total = factor();
    while (take("*")) {
      const { at } = lexemes[next];
      const other = factor();
      if (total.terms.size > 0 && other.terms.size > 0) {
        throw fail(`a product of two tokens at character ${at + 1}`, "multiply a token by a number");
      }
      total = other.terms.size > 0 ? scaled(other, total.constant) : scaled(total, other.constant);
    }
    return total;
  };
  const factor = (): Linear => {
    let sign = 1;
    while (take("-")) sign = -sign;
    if (take("(")) {
      const inner = sum();
      if (!take(")")) throw unexpected('"+", "-", "*" or ")"');
      return scaled(inner, sign);
    }
    const { kind, text } = lexemes[next];
    if (kind === "end" || kind === "symbol") throw unexpected('a word, a number or "("');
    next++;
    if (kind === "number") return { constant: sign * Number(text), terms: new Map() };
    return { constant: 0, terms: new Map([[kind === "word" ? ` ${text}` : text, sign]]) };
  };

  const { constant, terms } = sum();
  if (lexemes[next].kind !== "end") throw unexpected('"+", "-" or "*"');
  if (![constant, ...terms.values()].every((x) => Math.abs(x) <= MAX_MAGNITUDE)) {
    throw fail(`a coefficient exceeds ${MAX_MAGNITUDE} in magnitude`);
  }
  if (constant !== 0 || terms.size === 0) {
    const help = `multiply a token by it, or, if it is a token, quote it: " ${constant}"`;
    throw fail(`the number ${constant} is not the coefficient of a token`, help);
  }
  // Rounding leaves 0.1 + 0.2 − 0.3 at 5.6e-17, which counts as zero.
  return Array.from(terms, ([text, c]) => ({ text, coefficient: Math.abs(c) < 1e-12 ? 0 : c }));
}

function scaled({ constant, terms }: Linear, by: number): Linear {
  return { constant: constant * by, terms: new Map(Array.from(terms, ([text, c]) => [text, c * by])) };
}

function scan(expression: string, fail: (what: string) => ReflowError): Lexeme[] {
  const lexemes: Lexeme[] = [];
  let at = 0;
  while (at < expression.length) {
    LEXEME.lastIndex = at;
    const match = LEXEME.exec(expression);
    if (!match) {
      const rest = expression.slice(at).trim();
      if (rest === "") break;
      throw fail(
        rest.startsWith('"')
          ? `a quote is not closed: ${rest}`
          : `unexpected character ${JSON.stringify(rest[0])}`,
      );
    }
    const [kind, text] = Object.entries(match.groups!).find(([, text]) => text !== undefined)!;
    lexemes.push({
      kind: kind as Lexeme["kind"],
      at: at + match[0].length - match[0].trimStart().length,
      text: kind === "quoted" ? literal(text, fail) : text,
    });
    at += match[0].length;
  }
  lexemes.push({ kind: "end", at, text: "" });
  return lexemes;
}

/** The text of a quoted string, with JSON's escapes. */
function literal(quoted: string, fail: (what: string) => ReflowError): string {
  let text: string;
  try {
    text = JSON.parse(quoted.replaceAll("\n", "\\n").replaceAll("\t", "\\t"));
  } catch {
    throw fail(`${quoted} is not a valid JSON string`);
  }
  if (text === "") throw fail("a quoted token is empty");
  return text;
}

/**
 * The id of a token by its text.
 *
 * @param rows number of tokens in the model
 * @throws ReflowError `usage` if the text is not a single token, listing the tokens it consists of
 */
export function tokenOf(
  tokenizer: Tokenizer | undefined,
  text: string,
  { where, rows }: { where: string; rows: number },
): number {
  if (!tokenizer) {
    throw new ReflowError("usage", `${where}: the model has no tokenizer`, "use a signal or a vector");
  }
  const id = tokenizer.tokenId(text);
  if (id !== undefined && id < rows) return id;
  if (id !== undefined) {
    const help = "check that the tokenizer belongs to the model";
    const message = `${where}: ${JSON.stringify(text)} is token ${id}, but the model has ${rows} tokens`;
    throw new ReflowError("usage", message, help);
  }
  if (text.length > MAX_LENGTH) {
    throw new ReflowError(
      "usage",
      `${where}: ${displayValue(text)} is not a single token`,
      "use words that are single tokens",
    );
  }
  const parts = Array.from(tokenizer.encode(text), (part) => JSON.stringify(tokenizer.tokenText(part)));
  const spaced =
    tokenizer.tokenId(` ${text}`) === undefined ? "" : `; ${JSON.stringify(` ${text}`)} is one token`;
  throw new ReflowError(
    "usage",
    `${where}: ${displayValue(text)} is ${parts.length} tokens, ${parts.slice(0, MAX_LISTED).join(" ")}${parts.length > MAX_LISTED ? " …" : ""}`,
    `use words that are single tokens${spaced}`,
  );
}
