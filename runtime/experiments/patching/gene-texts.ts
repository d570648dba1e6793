/** What gene patches are tried on, and what words stand in the place of theirs by chance. */
import type { Random } from "../../math/random.ts";
import type { Word } from "../../text/word-sets.ts";
import type { ProbeContext } from "../framework/experiment.ts";
import { windows } from "../passes/forward-passes.ts";
import { openings } from "../passes/prompts.ts";
import type { Pair } from "../passes/sentiment.ts";
import type { Move } from "./gene-effects.ts";

/** Tokens about as frequent as a word, of which one takes its place by chance. */
const ABOUT_AS_FREQUENT = 60;

export const wordIds = ({ negative, positive }: Pair): number[] => [negative.id, positive.id];

export interface Texts {
  /** What something good or bad may be said after. */
  bases: number[][];
  /** None of these two has an edited word. */
  related: number[][];
  unrelated: Int32Array[];
  and: Word | undefined;
}

/** Our own openings, and held-out windows where the tokenizer has too few of them. */
export function textsOf(context: ProbeContext, edited: readonly Pair[], measured: readonly Pair[]): Texts {
  const { model, words, quick } = context;
  const { config } = model.model;
  const avoided = new Set(edited.flatMap(wordIds));
  const isClear = (ids: ArrayLike<number>) => !Array.from(ids).some((id) => avoided.has(id));
  const count = quick ? 6 : 16;
  const most = config.context - 2;
  const own = openings(context, most).kept.filter(isClear).slice(0, count);
  const filling = { count: 4 * (count - own.length), length: Math.min(8, most) };
  const bases = [...own, ...windows(context, filling, context.random("prompts")).filter(isClear)]
    .slice(0, count)
    .map((ids) => Array.from(ids));
  const and = words.find("and");
  const said = measured.slice(0, 3).flatMap(wordIds);
  const related = [
    ...bases.slice(0, own.length),
    ...bases.flatMap((ids) => said.map((id) => [...ids, id, ...(and ? [and.id] : [])])),
  ];
  const piece = { count: quick ? 24 : 64, length: Math.min(16, config.context) };
  const unrelated = windows(context, piece, context.random("texts")).filter(isClear);
  return { bases, related, unrelated, and };
}

/** Words that no text has, to be drawn in the place of edited ones. */
export function alikeIn(
  { model, words }: ProbeContext,
  edited: readonly Pair[],
  texts: readonly ArrayLike<number>[],
): { pool: number[]; drawn(random: Random): Omit<Move, "by">[] } | undefined {
  const { tokenizer } = model.model;
  const taken = new Set([...texts.flatMap((ids) => Array.from(ids)), ...edited.flatMap(wordIds)]);
  const { frequency } = words;
  const pool = Array.from({ length: model.recipe.rows }, (_, id) => id)
    .filter((id) => !taken.has(id) && /^ \p{L}+$/u.test(tokenizer.tokenText(id)))
    .sort((a, b) => frequency[a] - frequency[b] || a - b);
  if (pool.length < 4 * edited.length) return undefined;
  /** Those about as frequent as a word. */
  const around = ({ count }: Word) => {
    const above = pool.findIndex((id) => frequency[id] >= count);
    const size = Math.min(pool.length, Math.max(ABOUT_AS_FREQUENT, 4 * edited.length));
    const middle = (above < 0 ? pool.length : above) - Math.floor(size / 2);
    const from = Math.max(0, Math.min(pool.length - size, middle));
    return pool.slice(from, from + size);
  };
  const choices = edited.map(({ negative, positive }) => [around(negative), around(positive)]);
  const drawn = (random: Random) => {
    const used = new Set<number>();
    const draw = (some: readonly number[]) => {
      const free = some.filter((id) => !used.has(id));
      const id = free[Math.floor(random.uniform() * free.length)];
      used.add(id);
      return id;
    };
    return choices.map(([tokens, towards]) => ({ token: draw(tokens), towards: draw(towards) }));
  };
  return { pool, drawn };
}
