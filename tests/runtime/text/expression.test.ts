import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { parseExpression, tokenOf } from "../../../runtime/text/expression.ts";
import { expectError } from "../../support/expect-error.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";

const terms = (expression: string) =>
  Object.fromEntries(parseExpression(expression).map(({ text, coefficient }) => [text, coefficient]));

describe("sums of tokens", () => {
  test("a word has a leading space, a quoted string is literal", () => {
    expect(parseExpression("king + woman - man")).toEqual([
      { text: " king", coefficient: 1 },
      { text: " woman", coefficient: 1 },
      { text: " man", coefficient: -1 },
    ]);
    expect(terms('" King" - "ing" + ing')).toEqual({ " King": 1, ing: -1, " ing": 1 });
    expect(terms(String.raw`"\n\"" + "caf\u00e9"`)).toEqual({ '\n"': 1, café: 1 });
    expect(terms("don't-café+3rd")).toEqual({ " don't": 1, " café": -1, " 3rd": 1 });
  });

  test("coefficients, parentheses, signs", () => {
    expect(terms("0.6 * (great - terrible)")).toEqual({ " great": 0.6, " terrible": -0.6 });
    expect(terms("-(a - 2*b) * 3")).toEqual({ " a": -3, " b": 6 });
    expect(terms("(1 + .5) * 1e1 * a - -b")).toEqual({ " a": 15, " b": 1 });
    expect(terms("a + a + a - b + b")).toEqual({ " a": 3, " b": 0 });
    expect(terms("0.1*a + 0.2*a - 0.3*a")).toEqual({ " a": 0 });
    expect(terms("2 * 3 * 1990s")).toEqual({ " 1990s": 6 });
  });

  test("syntax errors name the position", async () => {
    const cases: [string, RegExp][] = [
      ["", /expected a word, a number or "\(" at the end/],
      ["king +", /expected a word, a number or "\(" at the end/],
      ["king + * man", /expected .* at character 8, found "\*"/],
      ["king queen", /expected "\+", "-" or "\*" at character 6, found "queen"/],
      ["(king", /expected .* or "\)" at the end/],
      ["king)", /expected .* at character 5, found "\)"/],
      ["2 king", /expected .* at character 3, found "king"/],
      ["king * queen", /a product of two tokens at character 8/],
      ["king + 1", /the number 1 is not the coefficient of a token/],
      ["1950", /the number 1950 is not the coefficient of a token/],
      ["a / b", /unexpected character "\/"/],
      ["a = b", /unexpected character "="/],
      ['a + "b', /a quote is not closed: "b/],
      ['""', /a quoted token is empty/],
      [String.raw`"\q"`, /is not a valid JSON string/],
      ["1e7 * a", /a coefficient exceeds 1000000/],
      ["1e300 * 1e300 * a", /a coefficient exceeds/],
      [`${"(".repeat(600)}a${")".repeat(600)}`, /1201 characters: expected at most 1000/],
    ];
    for (const [expression, message] of cases) {
      await expectError(() => parseExpression(expression), "usage", message);
    }
    await expectError(() => parseExpression("+", "x.expression"), "usage", /^x\.expression: /);
  });
});

type Tree =
  | { number: number }
  | { text: string; quoted: boolean }
  | { op: "+" | "-" | "*"; of: [Tree, Tree] };

const word = fc.stringMatching(/^[a-zé']{1,6}$/);
const quoted = fc.string({ minLength: 1, maxLength: 4 });
const leaf: fc.Arbitrary<Tree> = fc.oneof(
  word.map((text) => ({ text, quoted: false })),
  quoted.map((text) => ({ text, quoted: true })),
);
const { sum } = fc.letrec<{ sum: Tree }>((tie) => ({
  sum: fc.oneof(
    { depthSize: "small" },
    leaf,
    fc.record({ op: fc.constantFrom("+" as const, "-" as const), of: fc.tuple(tie("sum"), tie("sum")) }),
    fc.record({
      op: fc.constant("*" as const),
      of: fc.tuple(
        fc.integer({ min: 1, max: 16 }).map((n): Tree => ({ number: n / 4 })),
        tie("sum"),
      ),
    }),
  ),
}));

function print(tree: Tree): string {
  if ("number" in tree) return String(tree.number);
  if ("text" in tree) return tree.quoted ? JSON.stringify(tree.text) : tree.text;
  return `(${print(tree.of[0])} ${tree.op} ${print(tree.of[1])})`;
}

function evaluate(tree: Tree, by: number, into: Map<string, number>): Map<string, number> {
  if ("number" in tree) throw new Error("a number is a factor");
  if ("text" in tree) {
    const text = tree.quoted ? tree.text : ` ${tree.text}`;
    return into.set(text, (into.get(text) ?? 0) + by);
  }
  const [left, right] = tree.of;
  if (tree.op === "*") return evaluate(right, by * (left as { number: number }).number, into);
  evaluate(left, by, into);
  return evaluate(right, tree.op === "-" ? -by : by, into);
}

test("every valid sum is parsed to its coefficients", () => {
  fc.assert(
    fc.property(sum, (tree) => {
      const text = print(tree);
      fc.pre(text.length <= 1000);
      const expected = evaluate(tree, 1, new Map());
      fc.pre([...expected.values()].every((c) => Math.abs(c) <= 1e6));
      const found = new Map(parseExpression(text).map(({ text, coefficient }) => [text, coefficient]));
      expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [text, c] of expected) expect(found.get(text)! - c).toBeCloseTo(0, 9);
    }),
    { numRuns: 200 },
  );
});

test("any text is parsed or rejected with a ReflowError", () => {
  const pieces = fc.constantFrom(
    '"',
    "\\",
    "(",
    ")",
    "+",
    "-",
    "*",
    " ",
    "king",
    "2",
    "1e",
    ".",
    "\n",
    "é",
    "/",
  );
  const anything = fc.oneof(
    fc.string(),
    fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(anything, (text) => {
      try {
        for (const { coefficient } of parseExpression(text)) expect(coefficient).toBeFinite();
      } catch (error) {
        expect(error).toBeInstanceOf(ReflowError);
      }
    }),
    { numRuns: 300 },
  );
});

test("tokenOf returns the id of a single token, or lists the tokens of the text", async () => {
  const at = { where: "x", rows: 300 };
  expect(tokenOf(tinyTokenizer, " sea", at)).toBe(tinyTokenizer.tokenId(" sea")!);
  expect(tokenOf(tinyTokenizer, "<|endoftext|>", at)).toBe(tinyTokenizer.endOfText);
  const several = await expectError(
    () => tokenOf(tinyTokenizer, " king", at),
    "usage",
    /x: " king" is 2 tokens, " kin" "g"/,
  );
  expect(several.help).toBe("use words that are single tokens");
  const spaceless = await expectError(
    () => tokenOf(tinyTokenizer, "went", at),
    "usage",
    /"went" is 2 tokens/,
  );
  expect(spaceless.help).toContain('" went" is one token');
  await expectError(
    () => tokenOf(tinyTokenizer, " sea", { where: "x", rows: 260 }),
    "usage",
    /is token 265, but the model has 260 tokens/,
  );
  await expectError(() => tokenOf(undefined, " sea", at), "usage", /the model has no tokenizer/);
});
