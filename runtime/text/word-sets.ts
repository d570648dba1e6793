/** Word sets of the experiments: built-in lists and published evaluation sets with human ratings. */
import { ReflowError } from "../common/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { CATEGORIES, RELATIONS, SENTIMENT, SHOWN, SIMILAR, SOURCE_ANALOGIES } from "./word-lists.ts";

/** A word that is a single token, with its leading space. */
export interface Word {
  /** Without the space. */
  readonly text: string;
  readonly id: number;
  /** Number of occurrences of the token in the text. */
  readonly count: number;
}

export interface Category {
  readonly name: string;
  readonly words: readonly Word[];
}

export interface WordPair {
  readonly first: Word;
  readonly second: Word;
  /** Human similarity rating, 0 to 10; 1 for built-in pairs, which are not rated. */
  readonly rating: number;
}

/** a is to b as c is to d. */
export type Analogy = readonly [a: Word, b: Word, c: Word, d: Word];

export interface AnalogySection {
  readonly name: string;
  readonly questions: readonly Analogy[];
}

export interface LabelledText {
  readonly text: string;
  readonly positive: boolean;
}

/** Words and sets whose words are single tokens. Items with other words are skipped, and counted. */
export interface Words {
  readonly categories: readonly Category[];
  /** Words to show individually. */
  readonly shown: readonly Word[];
  /** Pairs of a negative word and its positive counterpart. */
  readonly sentiment: readonly { readonly negative: Word; readonly positive: Word }[];
  /** Built-in near-synonyms, or rated pairs. */
  readonly similar: readonly WordPair[];
  readonly analogies: readonly AnalogySection[];
  /** The three analogies that the source of this work shows. */
  readonly sourceAnalogies: readonly Analogy[];
  /** Sentences with their sentiment; empty if the caller gives none. */
  readonly sentences: readonly LabelledText[];
  /** For each set, the number of items (words, pairs, questions) that are kept and that are skipped. */
  readonly counts: Readonly<Record<WordSet, { readonly kept: number; readonly leftOut: number }>>;
  /** The origin of `similar` and `analogies`. */
  readonly origin: Readonly<Record<"similar" | "analogies", "built-in" | "given">>;
  /** The word of a text, if it is a single token. */
  find(text: string): Word | undefined;
  /** Number of occurrences of each token in the text, (V). */
  readonly frequency: Int32Array;
}

export type WordSet = "categories" | "shown" | "sentiment" | "similar" | "analogies" | "sourceAnalogies";

/** Contents of evaluation files. Built-in lists replace absent ones; there are no built-in sentences. */
export interface EvaluationSets {
  /** Google's analogies: sections that begin with `: name`, four words per line. */
  analogies?: string;
  /** SimLex-999: two words and a rating per line, separated by tabs. */
  similarity?: string;
  /** SST-2: `1 text` or `0 text` per line. */
  sentences?: string;
}

/** Categories with fewer words are too small to measure clustering. */
const MIN_CATEGORY_WORDS = 3;

/** The analogy questions whose words are all single tokens, from a set or the built-in lists. See {@link readWords}. */
export const readAnalogies = (tokenizer: Tokenizer, rows: number, set?: string): Analogy[] =>
  readWords(tokenizer, rows, new Int32Array(), { analogies: set }).analogies.flatMap(
    ({ questions }) => questions,
  );

/**
 * Finds the words' tokens.
 *
 * @param rows number of tokens in the model
 * @param text ids of a text, which determines frequencies
 * @throws ReflowError `format` for an invalid set, naming the line
 */
export function readWords(
  tokenizer: Tokenizer,
  rows: number,
  text: Int32Array,
  sets: EvaluationSets = {},
): Words {
  const frequency = new Int32Array(rows);
  for (const id of text) if (id < rows) frequency[id]++;
  const find = (word: string): Word | undefined => {
    const id = tokenizer.tokenId(` ${word}`);
    return id === undefined || id >= rows ? undefined : { text: word, id, count: frequency[id] };
  };
  const counts: Partial<Record<WordSet, { kept: number; leftOut: number }>> = {};
  /** The items that `resolve` finds tokens for; counts the kept and the skipped ones. */
  const keep = <T, U>(set: WordSet, items: readonly T[], resolve: (item: T) => U | undefined): U[] => {
    const kept = items.map(resolve).filter((item): item is U & {} => item !== undefined);
    const before = counts[set] ?? { kept: 0, leftOut: 0 };
    counts[set] = {
      kept: before.kept + kept.length,
      leftOut: before.leftOut + items.length - kept.length,
    };
    return kept;
  };
  const all = (words: readonly string[]): Word[] | undefined => {
    const found = words.map(find);
    return found.every((word) => word !== undefined) ? found : undefined;
  };
  // A question's own words are excluded as answers, so a question whose answer is one of them is skipped.
  const analogy = (words: readonly string[]) =>
    words.indexOf(words[3]) === 3 ? (all(words) as unknown as Analogy | undefined) : undefined;
  const pair = ([first, second]: readonly [string, string], rating: number): WordPair | undefined => {
    const words = all([first, second]);
    return words && { first: words[0], second: words[1], rating };
  };

  const categories = Object.entries(CATEGORIES).map(([name, words]) => ({
    name,
    words: keep("categories", words, find),
  }));
  const analogies = sets.analogies === undefined ? builtInAnalogies() : parseAnalogies(sets.analogies);
  const similar =
    sets.similarity === undefined
      ? SIMILAR.map((words) => ({ words, rating: 1 }))
      : parseSimilarity(sets.similarity);
  return {
    categories: categories.filter(({ words }) => words.length >= MIN_CATEGORY_WORDS),
    shown: keep("shown", SHOWN, find),
    sentiment: keep("sentiment", SENTIMENT, (words) => {
      const found = all(words);
      return found && { negative: found[0], positive: found[1] };
    }),
    similar: keep("similar", similar, ({ words, rating }) => pair(words, rating)),
    analogies: analogies
      .map(({ name, questions }) => ({ name, questions: keep("analogies", questions, analogy) }))
      .filter(({ questions }) => questions.length > 0),
    sourceAnalogies: keep("sourceAnalogies", SOURCE_ANALOGIES, analogy),
    sentences: sets.sentences === undefined ? [] : parseSentences(sets.sentences),
    counts: counts as Words["counts"],
    origin: {
      similar: sets.similarity === undefined ? "built-in" : "given",
      analogies: sets.analogies === undefined ? "built-in" : "given",
    },
    find,
    frequency,
  };
}

/** A note for the report, such as "96 of 120 words of the categories are single tokens; the other 24 are skipped." */
export function leftOutNote(words: Words, set: WordSet, what: string): string {
  const { kept, leftOut } = words.counts[set];
  return leftOut === 0
    ? `All ${kept} ${what} consist of single tokens.`
    : `${kept} of ${kept + leftOut} ${what} consist of single tokens; the other ${leftOut} are skipped.`;
}

/** Every ordered pair of pairs in a section makes a question. */
function builtInAnalogies() {
  return Object.entries(RELATIONS).map(([name, pairs]) => ({
    name,
    questions: pairs.flatMap(([a, b]) =>
      pairs.filter(([c]) => c !== a).map(([c, d]): readonly string[] => [a, b, c, d]),
    ),
  }));
}

// ---- formats ----------------------------------------------------------------------------------------------

/** Lines that are not empty or comments, with their numbers. */
function* linesOf(text: string): Generator<{ line: string; number: number }> {
  for (const [i, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line !== "" && !line.startsWith("#")) yield { line, number: i + 1 };
  }
}

function wrongLine(set: string, number: number, line: string, expected: string): ReflowError {
  const shown = line.length > 60 ? `${line.slice(0, 60)}…` : line;
  return new ReflowError(
    "format",
    `${set}, line ${number}: found ${JSON.stringify(shown)}`,
    `expected ${expected}`,
  );
}

function notEmpty<T>(items: T[], set: string): T[] {
  if (items.length > 0) return items;
  throw new ReflowError("format", `${set}: the file has no entries`, "use another file, or omit it");
}

/** Google's analogies (Mikolov et al. 2013). @throws ReflowError `format` naming the line */
export function parseAnalogies(text: string): { name: string; questions: string[][] }[] {
  const sections: { name: string; questions: string[][] }[] = [];
  for (const { line, number } of linesOf(text)) {
    if (line.startsWith(":")) {
      sections.push({ name: line.slice(1).trim(), questions: [] });
      continue;
    }
    const words = line.split(/\s+/);
    if (words.length !== 4)
      throw wrongLine("analogies", number, line, 'four words, or ": name" of a section');
    if (sections.length === 0)
      throw wrongLine("analogies", number, line, '": name" of a section before the first words');
    sections.at(-1)!.questions.push(words);
  }
  return notEmpty(sections, "analogies");
}

/** SimLex-999 (Hill et al. 2015). @throws ReflowError `format` naming the line */
export function parseSimilarity(text: string): { words: readonly [string, string]; rating: number }[] {
  const rated: { words: readonly [string, string]; rating: number }[] = [];
  for (const { line, number } of linesOf(text)) {
    const [first, second, rating, ...more] = line.split("\t").map((part) => part.trim());
    const value = Number(rating);
    if (!first || !second || !rating || more.length > 0 || !(value >= 0 && value <= 10)) {
      throw wrongLine(
        "word similarity",
        number,
        line,
        "two words and a rating from 0 to 10, separated by tabs",
      );
    }
    rated.push({ words: [first, second], rating: value });
  }
  return notEmpty(rated, "word similarity");
}

/** SST-2 (Socher et al. 2013). @throws ReflowError `format` naming the line */
export function parseSentences(text: string): LabelledText[] {
  const sentences: LabelledText[] = [];
  for (const { line, number } of linesOf(text)) {
    const match = /^([01])\s+(\S.*)$/.exec(line);
    if (!match) throw wrongLine("sentences", number, line, "0 or 1, then a sentence");
    sentences.push({ text: match[2], positive: match[1] === "1" });
  }
  return notEmpty(sentences, "sentences");
}
