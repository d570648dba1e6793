/** Texts on which gene patches are measured, and random words for their null. */
import type { Random } from "../../math/random.ts";
import type { Word } from "../../text/word-sets.ts";
import type { ExperimentContext } from "../framework/experiment.ts";
import { textWindows } from "../passes/forward-passes.ts";
import { openings } from "../passes/prompts.ts";
import type { SentimentPair } from "../passes/sentiment.ts";
import type { RecipeEdit } from "./gene-effects.ts";

/** Number of tokens of similar frequency from which a random replacement of a word is drawn. */
const SIMILAR_FREQUENCY = 60;

export const wordIds = ({ negative, positive }: SentimentPair): number[] => [negative.id, positive.id];

export interface Texts {
  /** Contexts that a sentiment word can follow. */
  bases: number[][];
  /** Related and unrelated texts; neither contains an edited word. */
  related: number[][];
  unrelated: Int32Array[];
  and: Word | undefined;
}

/** Builds the texts from built-in openings, supplemented by held-out windows if the tokenizer supports too few openings. */
export function textsOf(
  context: ExperimentContext,
  edited: readonly SentimentPair[],
  measured: readonly SentimentPair[],
): Texts {
  const { model, words, quick } = context;
  const { config } = model.model;
  const avoided = new Set(edited.flatMap(wordIds));
  const isClear = (ids: ArrayLike<number>) => !Array.from(ids).some((id) => avoided.has(id));
  const count = quick ? 6 : 16;
  const most = config.context - 2;
  const own = openings(context, most).kept.filter(isClear).slice(0, count);
  const filling = { count: 4 * (count - own.length), length: Math.min(8, most) };
  const bases = [...own, ...textWindows(context, filling, context.random("prompts")).filter(isClear)]
    .slice(0, count)
    .map((ids) => Array.from(ids));
  const and = words.find("and");
  const said = measured.slice(0, 3).flatMap(wordIds);
  const related = [
    ...bases.slice(0, own.length),
    ...bases.flatMap((ids) => said.map((id) => [...ids, id, ...(and ? [and.id] : [])])),
  ];
  const piece = { count: quick ? 24 : 64, length: Math.min(16, config.context) };
  const unrelated = textWindows(context, piece, context.random("texts")).filter(isClear);
  return { bases, related, unrelated, and };
}

/** Words that occur in no text, from which frequency-matched replacements of the edited words are drawn. */
export function frequencyMatchedWords(
  { model, words }: ExperimentContext,
  edited: readonly SentimentPair[],
  texts: readonly ArrayLike<number>[],
): { pool: number[]; draw(random: Random): Omit<RecipeEdit, "strength">[] } | undefined {
  const { tokenizer } = model.model;
  const taken = new Set([...texts.flatMap((ids) => Array.from(ids)), ...edited.flatMap(wordIds)]);
  const { frequency } = words;
  const pool = Array.from({ length: model.recipe.rows }, (_, id) => id)
    .filter((id) => !taken.has(id) && /^ \p{L}+$/u.test(tokenizer.tokenText(id)))
    .sort((a, b) => frequency[a] - frequency[b] || a - b);
  if (pool.length < 4 * edited.length) return undefined;
  /** Tokens with frequencies around that of a word. */
  const around = ({ count }: Word) => {
    const above = pool.findIndex((id) => frequency[id] >= count);
    const size = Math.min(pool.length, Math.max(SIMILAR_FREQUENCY, 4 * edited.length));
    const middle = (above < 0 ? pool.length : above) - Math.floor(size / 2);
    const from = Math.max(0, Math.min(pool.length - size, middle));
    return pool.slice(from, from + size);
  };
  const choices = edited.map(({ negative, positive }) => [around(negative), around(positive)]);
  const draw = (random: Random) => {
    const used = new Set<number>();
    const take = (some: readonly number[]) => {
      const free = some.filter((id) => !used.has(id));
      const id = free[Math.floor(random.uniform() * free.length)];
      used.add(id);
      return id;
    };
    return choices.map(([tokens, towards]) => ({ token: take(tokens), towards: take(towards) }));
  };
  return { pool, draw };
}
