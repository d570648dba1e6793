/** Creates gene patches from expressions over recipes. */
import { ReflowError } from "../common/errors.ts";
import { MAX_MAGNITUDE } from "../common/validation.ts";
import { parseExpression, type Term, tokenOf } from "../text/expression.ts";
import { gatherRows } from "../transformer/embedding-tables.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";
import { patchable } from "./apply.ts";
import { type Edit, type GenePatch, netEdits } from "./patch.ts";

/** A sum of recipes to be added to a token's recipe. */
interface Statement {
  /** The token's text. */
  target: string;
  terms: Term[];
}

const STATEMENT = /^(?<target>"(?:[^"\\]|\\.)*"|[^\s"()*+/=-]+)\s*(?<sign>[+-])=(?<sum>.*)$/su;
/** Text up to the next semicolon or line break outside quotes. */
const SEPARATED = /(?:"(?:[^"\\]|\\.)*"|[^;\n])+/gu;

/** The maximum length of an expression in characters; larger patches can be given as edits. */
const LONGEST = 20_000;

const HELP = 'write statements such as terrible += 0.6 * (great - terrible), with ";" between them';

/**
 * Parses statements `TOKEN += SUM` and `TOKEN -= SUM`, separated by semicolons or line breaks. Sums are those of
 * {@link parseExpression}.
 *
 * @throws ReflowError `usage` for a statement that cannot be parsed
 */
export function parseStatements(expression: string): Statement[] {
  if (expression.length > LONGEST) {
    const help = `use ${LONGEST} at most, or give edits`;
    throw new ReflowError("usage", `the expression has ${expression.length} characters`, help);
  }
  const statements = (expression.match(SEPARATED) ?? []).map((text) => text.trim()).filter((text) => text);
  if (statements.length === 0) throw new ReflowError("usage", "the expression is empty", HELP);
  return statements.map((text) => {
    const where = quoted(text);
    const { target, sign, sum } = STATEMENT.exec(text)?.groups ?? {};
    if (sum === undefined) {
      const message = `${where} adds nothing to a token: expected += or -= after the first token`;
      throw new ReflowError("usage", message, HELP);
    }
    const [{ text: token }] = parseExpression(target, where);
    const by = sign === "+" ? 1 : -1;
    const terms = parseExpression(sum, where);
    return { target: token, terms: terms.map((term) => ({ ...term, coefficient: by * term.coefficient })) };
  });
}

/**
 * Creates the patch that an expression describes. Each statement sees the effect of those before it. A word is its token with
 * a leading space, and quoted text is literal; but if some quoted text is not a token, as `"terrible"` rarely is, quoted
 * words get leading spaces too.
 *
 * @throws ReflowError `usage` for an expression that cannot be parsed, words of several tokens, and one without effect
 * @example
 * const kinder = await createPatch(model, '"terrible" += 0.6 * ("great" - "terrible")');
 */
export async function createPatch(model: InferenceModel, expression: string): Promise<GenePatch> {
  const checkpoint = patchable(model);
  const statements = parseStatements(expression);
  const texts = [
    ...new Set(statements.flatMap(({ target, terms }) => [target, ...terms.map(({ text }) => text)])),
  ];
  const ids = tokensOf(model, texts);
  const idOf = (text: string) => ids[texts.indexOf(text)];

  const before = (await gatherRows(model, ids)).map((row) => Float64Array.from(row));
  const rows = new Map(ids.map((id, i) => [id, before[i].slice()]));
  for (const { target, terms } of statements) {
    const row = rows.get(idOf(target))!;
    const sum = row.map((_, s) =>
      terms.reduce((sum, { text, coefficient }) => sum + coefficient * rows.get(idOf(text))![s], 0),
    );
    for (const [s, x] of sum.entries()) row[s] += x;
  }
  const edits = [...new Map(ids.map((id, i) => [id, before[i]]))].flatMap(([token, from]) =>
    Array.from(rows.get(token)!, (x, signal): Edit => ({ token, signal, delta: shorten(x - from[signal]) })),
  );
  const beyond = edits.find(({ delta }) => Math.abs(delta) > MAX_MAGNITUDE);
  if (beyond) {
    const message = `${quoted(expression)} changes signal ${beyond.signal} by ${beyond.delta}`;
    throw new ReflowError("usage", message, `use smaller numbers: a change may be at most ${MAX_MAGNITUDE}`);
  }
  const net = netEdits(edits);
  if (net.length > 0) return { model: checkpoint, edits: net };
  throw new ReflowError(
    "usage",
    `${quoted(expression)} changes nothing`,
    "use an expression whose sum is not zero",
  );
}

function tokensOf(model: InferenceModel, texts: readonly string[]): number[] {
  const { tokenizer } = model;
  if (!tokenizer) {
    const help = "provide edits by token and signal instead";
    throw new ReflowError("usage", "an expression needs a tokenizer, and the model has none", help);
  }
  const rows = tokenCount(model);
  const spaced = texts.map((text) => (text.startsWith(" ") ? text : ` ${text}`));
  const areTokens = (texts: readonly string[]) =>
    texts.every((text) => tokenizer.tokenId(text) !== undefined);
  const literal = areTokens(texts) || !areTokens(spaced) ? texts : spaced;
  return literal.map((text) => tokenOf(tokenizer, text, { where: "the expression", rows }));
}

const quoted = (text: string): string => `\`${text.length > 100 ? `${text.slice(0, 100)}…` : text}\``;

/** Nine digits, more than float32 holds, make the file half as long as float64 digits would. */
const shorten = (x: number): number => Number(x.toPrecision(9));
