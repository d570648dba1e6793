import { klDivergence } from "../../math/logits.ts";
import { matrix, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { forwardPasses, logitLens, residualHooks, type Sequence } from "../passes/forward-passes.ts";
import { crossEntropy, rankOf } from "../passes/predictions.ts";

const KINDS = ["swapped", "dropped", "doubled"] as const;
type Kind = (typeof KINDS)[number];

/** Random control words per typo. */
const CONTROLS = 5;
/** Minimum number of items for a claim. */
const LEAST_ITEMS = 8;

const CLAIMS = {
  "typo.recovery": {
    kind: "free",
    statement: "A typo raises the loss (ΔCE) less than a random word of the same length and token count.",
    side: "less",
  },
} as const satisfies ClaimSpecs;

export const typo = {
  id: "typo",
  question: "Does the model recover from typos, and where?",
  method:
    "Words are misspelt and the model reads on. The cost of a typo is the rise in loss; the rank of the intended " +
    "word, layer by layer, shows where the model recovers. Null: a random word of the same length and token count in " +
    "its place.",
  claims: CLAIMS,
  run,
} as const satisfies Experiment;

/** A word in its context, with its typo and its controls. */
interface Item {
  kind: Kind;
  word: string;
  typo: string;
  /** The word's single token. */
  clean: number;
  before: Int32Array;
  after: Int32Array;
  /** Random words with the same length and token count as the typo. */
  controls: readonly string[];
}

/** How well the continuation is predicted after one variant of the word. */
interface ContinuationScore {
  /** Mean cross-entropy over the continuation, nats. */
  loss: number;
  /** Divergence from the predictions after the clean word, mean over the continuation, nats. */
  kl: number;
}

interface Measured extends Item {
  cleanLoss: number;
  typoScore: ContinuationScore;
  controlScores: ContinuationScore[];
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { draws, quick, progress } = context;
  const { items, skipped } = itemsOf(context, quick ? 40 : 160);
  const parameters = { words: items.length, controls: CONTROLS };
  const note = `${skipped} words are left out: the text has fewer than ${CONTROLS} other words with the length and token count of their typo.`;
  if (items.length < LEAST_ITEMS) {
    const few = `Only ${items.length} words of the text could be misspelt and compared, too few for a claim.`;
    return { parameters, claims: [], figures: [], notes: [few, note] };
  }
  const { measured, streams } = await measure(context, items);
  const ranks = await ranksByDepth(context, items, streams);

  const costOf = ({ loss }: ContinuationScore, { cleanLoss }: Measured) => loss - cleanLoss;
  const costs = measured.map((item) => costOf(item.typoScore, item));
  const controlCosts = measured.map((item) => item.controlScores.map((score) => costOf(score, item)));
  const values = exchanged(costs, controlCosts, draws.cheap, context.random("exchanges"));
  const name = "random words of the same length and token count";
  await progress(1);
  return {
    parameters: { ...parameters, continuation: items[0].after.length, draws: draws.cheap },
    claims: [
      claim(
        CLAIMS,
        "typo.recovery",
        mean(costs),
        { name, values },
        bootstrap(costs, mean, context.random("interval")),
      ),
    ],
    figures: [
      byKind(context, measured, {
        title: "What a typo costs the words after it",
        caption:
          "Rise in the loss on the following tokens, compared with the word itself. Marked: random words in its place.",
        label: "ΔCE (nats per token)",
        figure: (score, item) => costOf(score, item),
      }),
      byKind(context, measured, {
        title: "How far a typo carries predictions away",
        caption:
          "Divergence from the predictions after the word itself to those after its typo. Marked: after random words.",
        label: "KL (nats)",
        figure: ({ kl }) => kl,
      }),
      recovery(context, ranks),
      histogram(
        {
          title: "Cost with words exchanged",
          caption:
            "Null distribution of the mean cost, in which any variant of a position counts as its typo, and observed value.",
        },
        { label: "ΔCE", unit: "nats" },
        values,
        mean(costs),
      ),
      examples(measured, costs, controlCosts),
    ],
    notes: [
      note,
      "The words are single tokens and their typos two tokens or more. Each null draw picks one variant of every position, possibly the typo itself, as its typo: p is exact for a model that does not distinguish them.",
    ],
  };
}

/** Null draws in which any variant at a position, typo or control, counts as its typo. */
export function exchanged(
  typos: readonly number[],
  controls: readonly (readonly number[])[],
  draws: number,
  random: Random,
): Float64Array {
  const places = typos.map((cost, i) => [cost, ...controls[i]]);
  return Float64Array.from({ length: draws }, () =>
    mean(places.map((costs) => costs[Math.floor(random.uniform() * costs.length)])),
  );
}

// ---- words and typos --------------------------------------------------------------------------------------

/** Misspells one letter of a word; undefined if no letter qualifies. */
export function misspell(word: string, kind: Kind, random: Random): string | undefined {
  // The first letter and doubled letters stay.
  const places = Array.from({ length: word.length - 2 }, (_, i) => i + 1).filter(
    (i) => word[i] !== word[i - 1] && word[i] !== word[i + 1],
  );
  if (places.length === 0) return undefined;
  const at = places[Math.floor(random.uniform() * places.length)];
  const [head, letter, next, tail] = [word.slice(0, at), word[at], word[at + 1], word.slice(at + 2)];
  if (kind === "swapped") return head + next + letter + tail;
  return kind === "dropped" ? head + next + tail : head + letter + letter + next + tail;
}

/** Words of the text with their typos and controls, without duplicates. */
function itemsOf(context: ExperimentContext, count: number): { items: Item[]; skipped: number } {
  const { text, model } = context;
  const { tokenizer, config } = model.model;
  const before = Math.min(24, Math.ceil(config.context / 3));
  const after = Math.min(8, Math.ceil(config.context / 4));
  const texts = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenText(id));
  const isWord = texts.map((token) => /^ [a-z]{5,}$/.test(token));
  const continuesWord = texts.map((token) => /^[\p{L}\p{N}'’]/u.test(token));
  const places: number[] = [];
  for (let at = before; at + 1 + after <= text.length; at++) {
    if (isWord[text[at]] && !continuesWord[text[at + 1]]) places.push(at);
  }
  const pool = controlPool(context);
  const random = context.random("words");
  const seen = new Set<number>();
  const items: Item[] = [];
  let skipped = 0;
  for (const place of shuffled(places, random)) {
    if (items.length === count) break;
    const around = text.subarray(place - before, place + 1 + after);
    if (seen.has(text[place]) || around.includes(tokenizer.endOfText)) continue;
    const word = texts[text[place]].slice(1);
    const kind = KINDS[items.length % KINDS.length];
    const typo = misspell(word, kind, random);
    if (typo === undefined) continue;
    const length = model.model.tokenize(` ${typo}`).length;
    if (length < 2 || before + length + after > config.context) continue;
    seen.add(text[place]);
    const others = (pool.get(keyOf(typo, length)) ?? []).filter((other) => other !== word && other !== typo);
    if (others.length < CONTROLS) {
      skipped++;
      continue;
    }
    items.push({
      kind,
      word,
      typo,
      clean: text[place],
      before: text.slice(place - before, place),
      after: text.slice(place + 1, place + 1 + after),
      controls: sample(others.length, CONTROLS, random).map((i) => others[i]),
    });
  }
  return { items, skipped };
}

const shuffled = (places: readonly number[], random: Random): number[] => {
  const keys = new Map(places.map((place) => [place, random.uniform()]));
  return [...places].sort((a, b) => keys.get(a)! - keys.get(b)!);
};

/** Maximum number of tokens searched for words. */
const MOST_TEXT = 400_000;

const keyOf = (word: string, tokens: number): string => `${word.length} letters, ${tokens} tokens`;

/** The words of the text by length and token count. */
function controlPool({ text, model: { model } }: ExperimentContext): Map<string, string[]> {
  const written = model.tokenizer.decode(text.subarray(0, MOST_TEXT));
  const words = new Set(
    Array.from(written.matchAll(/(?<= )[a-z]{4,}(?![\p{L}\p{N}'’])/gu), ([word]) => word),
  );
  const pool = new Map<string, string[]>();
  for (const word of words) {
    const key = keyOf(word, model.tokenize(` ${word}`).length);
    if (!pool.has(key)) pool.set(key, []);
    pool.get(key)!.push(word);
  }
  return pool;
}

// ---- measuring --------------------------------------------------------------------------------------------

type Role = "the word itself" | "its typo" | "a random word";

interface Variant extends Sequence {
  item: number;
  role: Role;
  /** Position of the last token of the variant. */
  last: number;
}

/** Per role and item: the residual stream (L+1,d) at the last token of the variant. */
type Streams = Map<Role, Float32Array[]>;

async function measure(
  context: ExperimentContext,
  items: readonly Item[],
): Promise<{ measured: Measured[]; streams: Streams }> {
  const { model } = context.model;
  const names = residualHooks(model.config);
  const variants = items.flatMap(({ before, after, clean, typo, controls }, item): Variant[] => {
    const variant = (role: Role, word: ArrayLike<number>): Variant => ({
      item,
      role,
      ids: [...before, ...Array.from(word), ...after],
      last: before.length + word.length - 1,
    });
    return [
      variant("the word itself", [clean]),
      variant("its typo", model.tokenize(` ${typo}`)),
      ...controls.map((word) => variant("a random word", model.tokenize(` ${word}`))),
    ];
  });
  const scores: ContinuationScore[][] = items.map(() => []);
  const streams: Streams = new Map();
  let cleanLogits: Float32Array[] = [];
  let done = 0;
  for await (const { item: variant, logits, activation } of forwardPasses(context, variants, {
    record: names,
  })) {
    const { after } = items[variant.item];
    const rows = Array.from(after, (_, i) => logits(variant.last + i));
    // The sequence of the clean word comes first: the following ones are compared with it.
    if (variant.role === "the word itself") cleanLogits = rows.map((row) => row.slice());
    const losses = rows.map((row, i) => crossEntropy(row, after[i]));
    const kls = rows.map((row, i) => klDivergence(cleanLogits[i], row));
    scores[variant.item].push({ loss: mean(losses), kl: mean(kls) });
    const stream = streams.get(variant.role) ?? [];
    streams.set(variant.role, stream);
    // Only the first random word is recorded.
    if (stream.length === variant.item) {
      stream.push(Float32Array.from(names.flatMap((name) => Array.from(activation(name, variant.last)))));
    }
    done++;
    await context.progress((0.8 * done) / variants.length);
  }
  const measured = items.map((item, i): Measured => {
    const [clean, typoScore, ...controlScores] = scores[i];
    return { ...item, cleanLoss: clean.loss, typoScore, controlScores };
  });
  return { measured, streams };
}

/** Rank of the clean token under the logit lens, by role, item and depth. */
async function ranksByDepth(
  context: ExperimentContext,
  items: readonly Item[],
  streams: Streams,
): Promise<Map<Role, number[][]>> {
  const d = context.model.embedding.columns;
  const count = residualHooks(context.model.model.config).length;
  const ranks = new Map<Role, number[][]>();
  for (const [role, stream] of streams) {
    const rows = matrix(items.length * count, d);
    for (const [i, values] of stream.entries()) {
      for (let l = 0; l < count; l++) rowOf(rows, i * count + l).set(values.subarray(l * d, (l + 1) * d));
    }
    const found: number[][] = items.map(() => []);
    let row = 0;
    for await (const logits of logitLens(context, rows)) {
      const item = Math.floor(row++ / count);
      found[item].push(rankOf(logits, items[item].clean));
    }
    ranks.set(role, found);
  }
  return ranks;
}

// ---- figures ----------------------------------------------------------------------------------------------

function byKind(
  context: ExperimentContext,
  measured: readonly Measured[],
  about: {
    title: string;
    caption: string;
    label: string;
    figure: (score: ContinuationScore, item: Measured) => number;
  },
): Figure {
  const { title, caption, label, figure } = about;
  const bar = (name: string, items: readonly Measured[]) => {
    const values = items.map((item) => figure(item.typoScore, item));
    const [low, high] = bootstrap(values, mean, context.random(`${title}/${name}`));
    const nullMean = mean(items.flatMap((item) => item.controlScores.map((score) => figure(score, item))));
    return { name, value: mean(values), low, high, null: nullMean };
  };
  const bars = [
    bar("all typos", measured),
    ...KINDS.map((kind) => ({ kind, items: measured.filter((item) => item.kind === kind) }))
      .filter(({ items }) => items.length > 0)
      .map(({ kind, items }) => bar(`letters ${kind}`, items)),
  ];
  return { type: "bars", title, caption, y: { label }, bars };
}

/** Geometric mean ranks with confidence intervals. */
function recovery(context: ExperimentContext, ranks: Map<Role, number[][]>): Figure {
  const series = Array.from(ranks, ([role, byItem]): Series => {
    const count = byItem[0].length;
    const geometric = (l: number) => (items: readonly number[][]) =>
      Math.exp(mean(items.map((item) => Math.log(item[l]))));
    const x = Array.from({ length: count }, (_, l) => l / (count - 1));
    const bands = x.map((_, l) => bootstrap(byItem, geometric(l), context.random(`${role}/${l}`)));
    return {
      name: role,
      x,
      y: x.map((_, l) => geometric(l)(byItem)),
      low: bands.map(([low]) => low),
      high: bands.map(([, high]) => high),
      ...(role === "a random word" && { isNull: true }),
    };
  });
  return {
    type: "lines",
    title: "Rank of the intended word",
    caption:
      "Rank of the intended word's token under the logit lens at each depth, at the last token of the variant (geometric mean). " +
      "A model that repairs a typo raises the intended word; the null is its rank after random words.",
    x: { label: "depth" },
    y: { label: "rank of the word's token", log: true },
    series,
  };
}

function examples(
  measured: readonly Measured[],
  costs: readonly number[],
  controlCosts: readonly (readonly number[])[],
): Figure {
  return {
    type: "table",
    title: "Typos",
    caption: "Examples, with the rise in the loss on the following tokens, in nats per token.",
    columns: ["word", "typo", "ΔCE", "a random word", "ΔCE"],
    rows: measured
      .slice(0, 12)
      .map(({ word, typo, controls }, i) => [word, typo, costs[i], controls[0], controlCosts[i][0]]),
  };
}
