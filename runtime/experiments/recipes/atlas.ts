import type { Matrix } from "../../math/matrix.ts";
import { cosines, largest, nearest, pick, rowOf } from "../../math/matrix.ts";
import { permuted, shuffleWithin } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { spearman } from "../../math/sparsity.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word, type WordPair } from "../../text/word-sets.ts";
import { ARM_DRAWS, metricArms, overArms, RECIPES } from "../framework/compared-tables.ts";
import type { ClaimResult, Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram, type Table } from "../framework/figure.ts";
import { coordinateNull } from "../framework/null-draws.ts";
import { claim } from "../framework/statistics.ts";
import { codebooks, ENDS, pureByChance, pureEnds } from "./codebooks.ts";
import { labelled } from "./galaxy-clusters.ts";

/** A word's nearest: so many are looked at for the claim. */
const NEAREST = 5;
/** Pairs whose second words are about as frequent, among which they are exchanged. */
const BAND = 10;

/** What is a token made of, and who are its neighbours? */
export const atlas: Probe = {
  id: "atlas",
  question: "What is a token made of, and who are its neighbours?",
  run,
};

async function run(context: ProbeContext): Promise<ProbeFindings> {
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
      words: labelled(words).words.length,
      nearest: NEAREST,
      draws: draws.cheap,
    },
    claims: parts.flatMap(({ claims }) => claims),
    figures: parts.flatMap(({ figures }) => figures),
    notes: [
      leftOutNote(
        words,
        "similar",
        `${words.origin.similar === "given" ? "rated pairs" : "built-in pairs of like meaning"}`,
      ),
      leftOutNote(words, "categories", "words of the categories"),
      ...(model.basis ? [] : ["An unfactored model has no recipes: its embedding stands for them."]),
    ],
  };
}

interface Part {
  claims: ClaimResult[];
  figures: Figure[];
}

// ---- pairs that people call similar -----------------------------------------------------------------------

async function similarity(context: ProbeContext): Promise<Part> {
  const { words, model, draws } = context;
  const rated = words.origin.similar === "given";
  if (words.similar.length < 2 * BAND) return { claims: [], figures: [] };
  // Rows of the words, each once.
  const ids = [...new Set(words.similar.flatMap(({ first, second }) => [first.id, second.id]))];
  const place = new Map(ids.map((id, i) => [id, i]));
  const cosineOf =
    ({ data }: Matrix) =>
    (first: Word, second: Word) =>
      data[place.get(first.id)! * ids.length + place.get(second.id)!];

  // Where there are ratings, alike is what people find more so than half of the pairs.
  const middle = words.similar.map(({ rating }) => rating).sort((a, b) => a - b)[words.similar.length >> 1];
  const alike = words.similar
    .filter(({ rating }) => rating >= middle)
    .sort((a, b) => a.second.count - b.second.count || a.second.id - b.second.id);
  const seconds = alike.map(({ second }) => second);
  type Cosine = ReturnType<typeof cosineOf>;
  const seen = (cosine: Cosine) => alike.map(({ first, second }) => cosine(first, second));
  const byChance = (cosine: Cosine, draws: number, random: Random) =>
    Float64Array.from({ length: draws }, () => {
      const others = shuffleWithin(seconds, BAND, random);
      const pairs = alike.map(({ first }, i) => ({ first, second: others[i] }));
      const different = pairs.filter(({ first, second }) => first.id !== second.id);
      return mean(different.map(({ first, second }) => cosine(first, second)));
    });

  const own = pick(model.recipe, ids);
  const cosine = cosineOf(await cosines(model.model, own, own));
  const chance = byChance(cosine, draws.cheap, context.random("pairings"));
  const arms = metricArms(context, context.random("mixtures of pairs"), { ids, mixtures: 5 });
  const random = context.random("pairings of arms");
  const bars = await overArms(arms, async (table) => {
    const cosine = cosineOf(await cosines(model.model, table, table));
    return [mean(seen(cosine)), mean(byChance(cosine, ARM_DRAWS, random))];
  });
  const figures: Figure[] = [
    {
      type: "bars",
      title: "Pairs that people call similar",
      caption: "Mean cosine. Marked: the same words, paired by chance among those of like frequency.",
      y: { label: "cosine" },
      bars,
    },
  ];
  if (rated) figures.push(await ratings(context, ids, cosineOf, words.similar));
  const interval = bootstrap(seen(cosine), mean, context.random("interval of pairs"));
  const name = "pairings by chance, among words of like frequency";
  return {
    claims: [claim("atlas.similarity", mean(seen(cosine)), { name, values: chance }, interval)],
    figures,
  };
}

/** Do cosines order pairs as people do? */
async function ratings(
  context: ProbeContext,
  ids: readonly number[],
  cosineOf: (table: Matrix) => (first: Word, second: Word) => number,
  pairs: readonly WordPair[],
): Promise<Figure> {
  const { model } = context;
  const arms = metricArms(context, context.random("mixtures of ratings"), { ids, mixtures: 5 });
  const bars = await overArms(arms, async (table) => {
    const of = cosineOf(await cosines(model.model, table, table));
    const between = pairs.map(({ first, second }) => of(first, second));
    const ratings = pairs.map(({ rating }) => rating);
    return [spearman(between, ratings), 0];
  });
  return {
    type: "bars",
    title: "Word similarity, against people's ratings",
    caption:
      `Spearman's rank correlation of cosine and rating, of ${pairs.length} pairs. Permuted ratings give 0 ± ` +
      `${(1 / Math.sqrt(pairs.length - 1)).toFixed(3)}.`,
    y: { label: "Spearman's ρ" },
    bars,
  };
}

// ---- neighbours -------------------------------------------------------------------------------------------

async function neighbourhoods(context: ProbeContext, vocabulary: Vocabulary): Promise<Part> {
  const { model, words, draws, progress } = context;
  const { words: stars, labels } = labelled(words);
  const figures: Figure[] = [await nearestPairs(context, vocabulary), ...(await shown(context, vocabulary))];
  await progress(0.2);
  if (words.categories.length < 2) return { claims: [], figures };
  const ids = stars.map(({ id }) => id);
  const depth = Math.min(10, stars.length - 1);
  const listsOf = async (table: Matrix) => nearest(await cosines(model.model, table, table), depth);
  const share = (lists: readonly number[][], labels: readonly number[], k: number) =>
    mean(lists.map((list, i) => sharing(list, labels, i, k)));

  const own = await listsOf(pick(model.recipe, ids));
  const chance = permuted(labels, draws.cheap, context.random("categories"), (order) =>
    share(own, order, NEAREST),
  );
  const depths = Array.from({ length: depth }, (_, i) => i + 1);
  const arms = metricArms(context, context.random("mixtures of neighbours"), { ids, mixtures: 5 });
  const series = [];
  for (const { name, tables } of arms) {
    const lists = await listsOf(await tables[0]());
    series.push({ name, x: depths, y: depths.map((k) => share(lists, labels, k)) });
  }
  figures.push({
    type: "lines",
    title: "Neighbours of a word's own category",
    caption:
      "The share of a word's k nearest, among the words of all categories, that are of its own. Of mixed recipes one draw.",
    x: { label: "k" },
    y: { label: "share" },
    series: [
      ...series,
      { name: "permuted categories", x: depths, y: depths.map(() => mean(chance)), isNull: true },
    ],
  });
  const effect = share(own, labels, NEAREST);
  const each = own.map((list, i) => sharing(list, labels, i, NEAREST));
  const interval = bootstrap(each, mean, context.random("interval of neighbours"));
  return {
    claims: [claim("atlas.neighbours", effect, { name: "permuted categories", values: chance }, interval)],
    figures,
  };
}

/** Of the first k of a list, the share that has a word's own label. */
const sharing = (list: readonly number[], labels: readonly number[], word: number, k: number): number =>
  list.slice(0, k).filter((other) => labels[other] === labels[word]).length / k;

/** Words that are tokens, the most frequent first. */
type Vocabulary = readonly { id: number; text: string }[];

function frequentWords({ model, words }: ProbeContext, count: number): Vocabulary {
  const { tokenizer } = model.model;
  const found: { id: number; text: string }[] = [];
  for (let id = 0; id < model.recipe.rows; id++) {
    const text = tokenizer.tokenText(id);
    if (/^ \p{L}{2,}$/u.test(text)) found.push({ id, text: text.slice(1) });
  }
  return found.sort((a, b) => words.frequency[b.id] - words.frequency[a.id] || a.id - b.id).slice(0, count);
}

async function nearestPairs({ model }: ProbeContext, vocabulary: Vocabulary): Promise<Table> {
  const ids = vocabulary.map(({ id }) => id);
  const of = async (table: Matrix) => {
    const rows = pick(table, ids);
    return cosines(model.model, rows, rows);
  };
  const recipe = await of(model.recipe);
  const embedding = model.basis ? await of(model.embedding) : recipe;
  const n = ids.length;
  // Each pair once, at its place above the diagonal.
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
    caption: `By the cosine of their recipes, of the ${n} words that are most frequent in the text.`,
    columns: ["pair", "cosine of recipes", "of embeddings"],
    rows,
  };
}

/** Some words' signals and neighbours. */
async function shown({ model, words }: ProbeContext, vocabulary: Vocabulary): Promise<Table[]> {
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
      title: "Neighbours of some words",
      caption: `The nearest of the ${ids.length} most frequent words, with their cosines.`,
      columns: ["word", `by ${RECIPES}`, "by embedding"],
      rows: words.shown.map(({ text }, i) => [text, inRecipes[i], inEmbedding[i]]),
    },
  ];
  if (model.basis) {
    tables.push({
      type: "table",
      title: "What some words are made of",
      caption: "The signals that each recipe has most of, and least, with their numbers.",
      columns: ["word", "most", "least"],
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

async function signals(context: ProbeContext, vocabulary: Vocabulary): Promise<Part> {
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
  const { words: stars, labels } = labelled(words);
  if (words.categories.length < 2) return { claims: [], figures };
  const recipes = pick(
    model.recipe,
    stars.map(({ id }) => id),
  );
  const effect = pureEnds(recipes, labels);
  const values = await pureByChance(context, recipes, labels);
  figures.unshift(
    histogram(
      {
        title: "Categories in codebooks",
        caption:
          `The share of signals' ends whose ${ENDS} strongest words, of those of all categories, are of one category: with ` +
          `${coordinateNull(context)}, and as observed.`,
      },
      { label: "share of ends" },
      values,
      effect,
    ),
  );
  return { claims: [claim("atlas.codebooks", effect, { name: coordinateNull(context), values })], figures };
}
