import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { parseExpression, tokenOf } from "../../../runtime/text/expression.ts";
import { expectError } from "../../support/expect-error.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";

const terms = (expression: string) =>
  Object.fromEntries(parseExpression(expression).map(({ text, coefficient }) => [text, coefficient]));

describe("sums of tokens", () => {
  test("words have a leading space, what is in quotes has what it has", () => {
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

  test("what is no sum of tokens says where", async () => {
    const cases: [string, RegExp][] = [
      ["", /a word, a number or "\(" was expected at the end/],
      ["king +", /was expected at the end/],
      ["king + * man", /was expected at character 8, "\*"/],
      ["king queen", /"\+", "-" or "\*" was expected at character 6, "queen"/],
      ["(king", /"\)" was expected at the end/],
      ["king)", /was expected at character 5, "\)"/],
      ["2 king", /was expected at character 3, "king"/],
      ["king * queen", /a product of tokens at character 8/],
      ["king + 1", /the number 1 stands alone/],
      ["1950", /the number 1950 stands alone/],
      ["a / b", /"\/" has no meaning/],
      ["a = b", /"=" has no meaning/],
      ['a + "b', /a quote is not closed at "b/],
      ['""', /nothing between two quotes/],
      [String.raw`"\q"`, /is not text in JSON's quotes/],
      ["1e7 * a", /a number is beyond 1000000/],
      ["1e300 * 1e300 * a", /a number is beyond/],
      [`${"(".repeat(600)}a${")".repeat(600)}`, /1201 characters, more than 1000/],
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

test("every sum that can be written is read as what it comes to", () => {
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

test("whatever is written, it is read or refused", () => {
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

test("a text is a token, or the tokens it is are told", async () => {
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
    /is token 265 of 260/,
  );
  await expectError(() => tokenOf(undefined, " sea", at), "usage", /the model has no tokenizer/);
});
