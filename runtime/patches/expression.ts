/** Gene patches from sums of recipes. */
import { ReflowError } from "../common/errors.ts";
import { MAX_MAGNITUDE } from "../common/validation.ts";
import { parseExpression, type Term, tokenOf } from "../text/expression.ts";
import { gatherRows } from "../transformer/embedding-tables.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";
import { patchable } from "./apply.ts";
import { type Edit, type GenePatch, netEdits } from "./patch.ts";

/** What is added to a token's recipe. */
interface Statement {
  /** The token's text. */
  target: string;
  terms: Term[];
}

const STATEMENT = /^(?<target>"(?:[^"\\]|\\.)*"|[^\s"()*+/=-]+)\s*(?<sign>[+-])=(?<sum>.*)$/su;
/** Up to the next semicolon or line's end that isn't quoted. */
const SEPARATED = /(?:"(?:[^"\\]|\\.)*"|[^;\n])+/gu;

/** Characters of it: a patch of a thousand statements can be one of edits. */
const LONGEST = 20_000;

const HELP = 'write statements such as terrible += 0.6 * (great - terrible), with ";" between them';

/**
 * Reads `TOKEN += SUM` and `TOKEN -= SUM`, several of them with semicolons or line ends between. Sums are those of
 * {@link parseExpression}.
 *
 * @throws ReflowError `usage` saying what can't be read
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
      const message = `${where} adds nothing to a token: += or -= was expected after the first`;
      throw new ReflowError("usage", message, HELP);
    }
    const [{ text: token }] = parseExpression(target, where);
    const by = sign === "+" ? 1 : -1;
    const terms = parseExpression(sum, where);
    return { target: token, terms: terms.map((term) => ({ ...term, coefficient: by * term.coefficient })) };
  });
}

/**
 * The patch that an expression stands for. A statement sees what those before it have done. A word is its token with a leading
 * space and what is quoted is literal; but where not all that is quoted are tokens, as `"terrible"` hardly ever is one, quoted
 * words have leading spaces too.
 *
 * @throws ReflowError `usage` for what can't be read, words of several tokens, and what changes nothing
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
    throw new ReflowError("usage", message, `at most ${MAX_MAGNITUDE} makes sense: use smaller numbers`);
  }
  const net = netEdits(edits);
  if (net.length > 0) return { model: checkpoint, edits: net };
  throw new ReflowError("usage", `${quoted(expression)} changes nothing`, "what it adds comes to zero");
}

function tokensOf(model: InferenceModel, texts: readonly string[]): number[] {
  const { tokenizer } = model;
  if (!tokenizer) {
    const help = "give edits, by token and signal";
    throw new ReflowError("usage", "an expression is of words, and the model has no tokenizer", help);
  }
  const rows = tokenCount(model);
  const spaced = texts.map((text) => (text.startsWith(" ") ? text : ` ${text}`));
  const areTokens = (texts: readonly string[]) =>
    texts.every((text) => tokenizer.tokenId(text) !== undefined);
  const meant = areTokens(texts) || !areTokens(spaced) ? texts : spaced;
  return meant.map((text) => tokenOf(tokenizer, text, { where: "the expression", rows }));
}

const quoted = (text: string): string => `\`${text.length > 100 ? `${text.slice(0, 100)}…` : text}\``;

/** More digits than float32 has, and no more: a file of them is half as long. */
const shorten = (x: number): number => Number(x.toPrecision(9));
