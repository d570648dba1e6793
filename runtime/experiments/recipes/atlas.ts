import type { Matrix } from "../../math/matrix.ts";
import { cosines, largest, nearest, pick, rowOf } from "../../math/matrix.ts";
import { permuted, shuffleWithin } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { spearman } from "../../math/sparsity.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word, type WordPair } from "../../text/word-sets.ts";
import { type ClaimResult, type ClaimSpecs, claim } from "../framework/claims.ts";
import { comparedTables, measureTables, RECIPES, TABLE_DRAWS } from "../framework/compared-tables.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram, type Table } from "../framework/figure.ts";
import { coordinateNull } from "../framework/null-draws.ts";
import { codebooks, pureEnds, pureEndsNull, TOP_WORDS } from "./codebooks.ts";
import { labelledWords } from "./galaxy-clusters.ts";

/** Nearest neighbours per word that the claim considers. */
const NEAREST = 5;
/** Consecutive pairs, ordered by frequency of the second word, among which second words are exchanged. */
const BAND = 10;

const CLAIMS = {
  "atlas.similarity": {
    kind: "metric",
    statement: "Recipes of words that people judge similar have larger cosines than random pairings.",
    side: "greater",
  },
  "atlas.neighbours": {
    kind: "metric",
    statement:
      "A word's nearest recipes belong to its own category more often than with permuted categories.",
    side: "greater",
  },
  "atlas.codebooks": {
    kind: "bound",
    statement:
      "The strongest words at an end of a signal all belong to one category more often than for randomly rotated signals.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const atlas = {
  id: "atlas",
  question: "What is a token made of, and what are its neighbours?",
  method:
    "A token's recipe gives its weight on each signal; a signal's codebook lists the words with its largest and " +
    "smallest weights. If recipes carry meaning, words that people judge similar have recipes with large cosines, and " +
    "a word's nearest neighbours belong to its own category. Null: the same words in other pairs, drawn among words " +
    "of similar frequency; permuted categories; rotated signals.",
  reported: "cosines of .755 for three and four, .54 for king and queen, .53 for France and Germany",
  claims: CLAIMS,
  run,
} as const satisfies Experiment;

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, quick } = context;
  const vocabulary = frequentWords(context, quick ? 1500 : 4000);
  const parts = [
    await similarity(context),
    await neighbourhoods(context, vocabulary),
    await signals(context, vocabulary),
  ];
  return {
    parameters: {
      pairs: words.similar.length,
      words: labelledWords(words).words.length,
      nearest: NEAREST,
      draws: draws.cheap,
    },
    claims: parts.flatMap(({ claims }) => claims),
    figures: parts.flatMap(({ figures }) => figures),
    notes: [
      leftOutNote(
        words,
        "similar",
        `${words.origin.similar === "given" ? "rated pairs" : "built-in pairs of similar meaning"}`,
      ),
      leftOutNote(words, "categories", "words of the categories"),
      ...(model.basis ? [] : ["An unfactored model has no recipes: its embedding stands in for them."]),
    ],
  };
}

interface Part {
  claims: ClaimResult[];
  figures: Figure[];
}

// ---- pairs that people judge similar ----------------------------------------------------------------------

async function similarity(context: ExperimentContext): Promise<Part> {
  const { words, model, draws } = context;
  const rated = words.origin.similar === "given";
  if (words.similar.length < 2 * BAND) return { claims: [], figures: [] };
  // Token ids of the words, without duplicates.
  const ids = [...new Set(words.similar.flatMap(({ first, second }) => [first.id, second.id]))];
  const place = new Map(ids.map((id, i) => [id, i]));
  const cosineOf =
    ({ data }: Matrix) =>
    (first: Word, second: Word) =>
      data[place.get(first.id)! * ids.length + place.get(second.id)!];

  // Rated pairs count as similar if their rating is at least the median.
  const middle = words.similar.map(({ rating }) => rating).sort((a, b) => a - b)[words.similar.length >> 1];
  const alike = words.similar
    .filter(({ rating }) => rating >= middle)
    .sort((a, b) => a.second.count - b.second.count || a.second.id - b.second.id);
  const seconds = alike.map(({ second }) => second);
  type Cosine = ReturnType<typeof cosineOf>;
  const observed = (cosine: Cosine) => alike.map(({ first, second }) => cosine(first, second));
  const nullOf = (cosine: Cosine, draws: number, random: Random) =>
    Float64Array.from({ length: draws }, () => {
      const others = shuffleWithin(seconds, BAND, random);
      const pairs = alike.map(({ first }, i) => ({ first, second: others[i] }));
      const different = pairs.filter(({ first, second }) => first.id !== second.id);
      return mean(different.map(({ first, second }) => cosine(first, second)));
    });

  const own = pick(model.recipe, ids);
  const cosine = cosineOf(await cosines(model.model, own, own));
  const nullValues = nullOf(cosine, draws.cheap, context.random("pairings"));
  const compared = comparedTables(context, context.random("mixtures of pairs"), { ids, mixtures: 5 });
  const random = context.random("pairings of arms");
  const bars = await measureTables(compared, async (table) => {
    const cosine = cosineOf(await cosines(model.model, table, table));
    return [mean(observed(cosine)), mean(nullOf(cosine, TABLE_DRAWS, random))];
  });
  const figures: Figure[] = [
    {
      type: "bars",
      title: "Pairs that people judge similar",
      caption: "Mean cosine. Marked: the same words in random pairs of similar frequency.",
      y: { label: "cosine" },
      bars,
    },
  ];
  if (rated) figures.push(await ratings(context, ids, cosineOf, words.similar));
  const interval = bootstrap(observed(cosine), mean, context.random("interval of pairs"));
  const name = "random pairings among words of similar frequency";
  return {
    claims: [
      claim(CLAIMS, "atlas.similarity", mean(observed(cosine)), { name, values: nullValues }, interval),
    ],
    figures,
  };
}

/** Rank correlation between cosines and human ratings. */
async function ratings(
  context: ExperimentContext,
  ids: readonly number[],
  cosineOf: (table: Matrix) => (first: Word, second: Word) => number,
  pairs: readonly WordPair[],
): Promise<Figure> {
  const { model } = context;
  const compared = comparedTables(context, context.random("mixtures of ratings"), { ids, mixtures: 5 });
  const bars = await measureTables(compared, async (table) => {
    const of = cosineOf(await cosines(model.model, table, table));
    const between = pairs.map(({ first, second }) => of(first, second));
    const ratings = pairs.map(({ rating }) => rating);
    return [spearman(between, ratings), 0];
  });
  return {
    type: "bars",
    title: "Word similarity compared with human ratings",
    caption:
      `Spearman's rank correlation between cosine and rating over ${pairs.length} pairs. Permuted ratings give 0 ± ` +
      `${(1 / Math.sqrt(pairs.length - 1)).toFixed(3)}.`,
    y: { label: "Spearman's ρ" },
    bars,
  };
}

// ---- neighbours -------------------------------------------------------------------------------------------

async function neighbourhoods(context: ExperimentContext, vocabulary: Vocabulary): Promise<Part> {
  const { model, words, draws, progress } = context;
  const { words: members, labels } = labelledWords(words);
  const figures: Figure[] = [await nearestPairs(context, vocabulary), ...(await shown(context, vocabulary))];
  await progress(0.2);
  if (words.categories.length < 2) return { claims: [], figures };
  const ids = members.map(({ id }) => id);
  const depth = Math.min(10, members.length - 1);
  const listsOf = async (table: Matrix) => nearest(await cosines(model.model, table, table), depth);
  const share = (lists: readonly number[][], labels: readonly number[], k: number) =>
    mean(lists.map((list, i) => sharing(list, labels, i, k)));

  const own = await listsOf(pick(model.recipe, ids));
  const nullValues = permuted(labels, draws.cheap, context.random("categories"), (order) =>
    share(own, order, NEAREST),
  );
  const depths = Array.from({ length: depth }, (_, i) => i + 1);
  const compared = comparedTables(context, context.random("mixtures of neighbours"), { ids, mixtures: 5 });
  const series = [];
  for (const { name, tables } of compared) {
    const lists = await listsOf(await tables[0]());
    series.push({ name, x: depths, y: depths.map((k) => share(lists, labels, k)) });
  }
  figures.push({
    type: "lines",
    title: "Neighbours of a word's own category",
    caption:
      "Fraction of a word's k nearest neighbours, among the words of all categories, that belong to its own category. Mixed recipes are shown for one draw.",
    x: { label: "k" },
    y: { label: "fraction" },
    series: [
      ...series,
      { name: "permuted categories", x: depths, y: depths.map(() => mean(nullValues)), isNull: true },
    ],
  });
  const effect = share(own, labels, NEAREST);
  const each = own.map((list, i) => sharing(list, labels, i, NEAREST));
  const interval = bootstrap(each, mean, context.random("interval of neighbours"));
  return {
    claims: [
      claim(
        CLAIMS,
        "atlas.neighbours",
        effect,
        { name: "permuted categories", values: nullValues },
        interval,
      ),
    ],
    figures,
  };
}

/** Fraction of the first k neighbours that have the word's own label. */
const sharing = (list: readonly number[], labels: readonly number[], word: number, k: number): number =>
  list.slice(0, k).filter((other) => labels[other] === labels[word]).length / k;

/** Words that are single tokens, in descending order of frequency. */
type Vocabulary = readonly { id: number; text: string }[];

function frequentWords({ model, words }: ExperimentContext, count: number): Vocabulary {
  const { tokenizer } = model.model;
  const found: { id: number; text: string }[] = [];
  for (let id = 0; id < model.recipe.rows; id++) {
    const text = tokenizer.tokenText(id);
    if (/^ \p{L}{2,}$/u.test(text)) found.push({ id, text: text.slice(1) });
  }
  return found.sort((a, b) => words.frequency[b.id] - words.frequency[a.id] || a.id - b.id).slice(0, count);
}

async function nearestPairs({ model }: ExperimentContext, vocabulary: Vocabulary): Promise<Table> {
  const ids = vocabulary.map(({ id }) => id);
  const of = async (table: Matrix) => {
    const rows = pick(table, ids);
    return cosines(model.model, rows, rows);
  };
  const recipe = await of(model.recipe);
  const embedding = model.basis ? await of(model.embedding) : recipe;
  const n = ids.length;
  // The upper triangle: each pair once.
  const above = recipe.data.slice();
  for (let i = 0; i < n; i++) above.fill(-Infinity, i * n, i * n + i + 1);
  const rows = largest(above, 20)
    .map((at) => [Math.floor(at / n), at % n])
    .filter(([i, j]) => i < j)
    .map(([i, j]) => [
      `${vocabulary[i].text} ↔ ${vocabulary[j].text}`,
      recipe.data[i * n + j],
      embedding.data[i * n + j],
    ]);
  return {
    type: "table",
    title: "Nearest pairs",
    caption: `Pairs with the largest cosines between recipes, among the ${n} most frequent words of the text.`,
    columns: ["pair", "cosine of recipes", "cosine of embeddings"],
    rows,
  };
}

/** Signals and neighbours of a few example words. */
async function shown({ model, words }: ExperimentContext, vocabulary: Vocabulary): Promise<Table[]> {
  if (words.shown.length === 0) return [];
  const ids = vocabulary.map(({ id }) => id);
  const neighbours = async (table: Matrix) => {
    const queries = pick(
      table,
      words.shown.map(({ id }) => id),
    );
    const near = await cosines(model.model, queries, pick(table, ids));
    return words.shown.map(({ id }, i) => {
      const row = rowOf(near, i);
      return largest(row, 7)
        .filter((at) => ids[at] !== id)
        .slice(0, 6)
        .map((at) => `${vocabulary[at].text} ${row[at].toFixed(2)}`)
        .join(", ");
    });
  };
  const [inRecipes, inEmbedding] = [await neighbours(model.recipe), await neighbours(model.embedding)];
  const tables: Table[] = [
    {
      type: "table",
      title: "Neighbours of example words",
      caption: `The nearest neighbours among the ${ids.length} most frequent words, with their cosines.`,
      columns: ["word", `by ${RECIPES}`, "by embedding"],
      rows: words.shown.map(({ text }, i) => [text, inRecipes[i], inEmbedding[i]]),
    },
  ];
  if (model.basis) {
    tables.push({
      type: "table",
      title: "Signals of example words",
      caption: "The signals with the largest and smallest weights in each recipe, with their weights.",
      columns: ["word", "largest weights", "smallest weights"],
      rows: words.shown.map(({ text, id }) => {
        const recipe = rowOf(model.recipe, id);
        const strongest = (sign: number) =>
          largest(
            recipe.map((x) => sign * x),
            5,
          )
            .map((s) => `${s}: ${recipe[s].toFixed(2)}`)
            .join(", ");
        return [text, strongest(1), strongest(-1)];
      }),
    });
  }
  return tables;
}

// ---- signals ----------------------------------------------------------------------------------------------

async function signals(context: ExperimentContext, vocabulary: Vocabulary): Promise<Part> {
  const { model, words, quick } = context;
  if (!model.basis) return { claims: [], figures: [] };
  const frequent = pick(
    model.recipe,
    vocabulary.map(({ id }) => id),
  );
  const figures: Figure[] = [
    codebooks(
      frequent,
      vocabulary.map(({ text }) => text),
      quick ? 12 : 48,
    ),
  ];
  const { words: members, labels } = labelledWords(words);
  if (words.categories.length < 2) return { claims: [], figures };
  const recipes = pick(
    model.recipe,
    members.map(({ id }) => id),
  );
  const effect = pureEnds(recipes, labels);
  const values = await pureEndsNull(context, recipes, labels);
  figures.unshift(
    histogram(
      {
        title: "Categories in codebooks",
        caption:
          `Fraction of signal ends whose ${TOP_WORDS} strongest words, among the words of all categories, belong to one category: null from ` +
          `${coordinateNull(context)}, and observed value.`,
      },
      { label: "fraction of ends" },
      values,
      effect,
    ),
  );
  return {
    claims: [claim(CLAIMS, "atlas.codebooks", effect, { name: coordinateNull(context), values })],
    figures,
  };
}
