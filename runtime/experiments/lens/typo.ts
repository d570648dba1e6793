import { klDivergence } from "../../math/logits.ts";
import { matrix, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";
import { depths, forwards, lens, type Sequence } from "../passes/forward-passes.ts";
import { crossEntropy, rankOf } from "../passes/predictions.ts";

const KINDS = ["swapped", "dropped", "doubled"] as const;
type Kind = (typeof KINDS)[number];

/** Random words that each typo is held against. */
const CONTROLS = 5;
/** Fewer say nothing. */
const LEAST_ITEMS = 8;

/** Does the model recover from typos, and where? */
export const typo: Probe = {
  id: "typo",
  question: "Does the model recover from typos, and where?",
  run,
};

/** A word in its place, and what stands there instead of it. */
interface Item {
  kind: Kind;
  word: string;
  typo: string;
  /** The word's single token. */
  clean: number;
  before: Int32Array;
  after: Int32Array;
  /** Random words, as long as the typo and of as many tokens. */
  controls: readonly string[];
}

/** What is read off an item's sequence with one word in the place. */
interface Reading {
  /** Mean over the continuation, nats. */
  loss: number;
  /** From the clean word's predictions to these, mean over the continuation. */
  kl: number;
}

interface Measured extends Item {
  cleanLoss: number;
  typos: Reading;
  byControl: Reading[];
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { draws, quick, progress } = context;
  const { items, skipped } = itemsOf(context, quick ? 40 : 160);
  const parameters = { words: items.length, controls: CONTROLS };
  const note = `${skipped} words are left out: the text has fewer than ${CONTROLS} other words as long as their typo and of as many tokens.`;
  if (items.length < LEAST_ITEMS) {
    const few = `Only ${items.length} words of the text could be misspelt and compared: too few for a claim.`;
    return { parameters, claims: [], figures: [], notes: [few, note] };
  }
  const { measured, streams } = await measure(context, items);
  const ranks = await ranksByDepth(context, items, streams);

  const costOf = ({ loss }: Reading, { cleanLoss }: Measured) => loss - cleanLoss;
  const costs = measured.map((item) => costOf(item.typos, item));
  const controlCosts = measured.map((item) => item.byControl.map((reading) => costOf(reading, item)));
  const values = exchanged(costs, controlCosts, draws.cheap, context.random("exchanges"));
  const name = "random words of the same length and token count";
  await progress(1);
  return {
    parameters: { ...parameters, continuation: items[0].after.length, draws: draws.cheap },
    claims: [
      claim(
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
          "How much worse the following tokens are predicted than after the word itself. Marked: random words in its place.",
        label: "ΔCE (nats per token)",
        figure: (reading, item) => costOf(reading, item),
      }),
      byKind(context, measured, {
        title: "How far a typo carries predictions away",
        caption:
          "From the predictions after the word itself to those after its typo. Marked: after random words.",
        label: "KL (nats)",
        figure: ({ kl }) => kl,
      }),
      recovery(context, ranks),
      histogram(
        {
          title: "Cost with words exchanged",
          caption: "The mean cost where any of a place's words, the typo among them, is called the typo.",
        },
        { label: "ΔCE", unit: "nats" },
        values,
        mean(costs),
      ),
      examples(measured, costs, controlCosts),
    ],
    notes: [
      note,
      "Typos are of words of a single token, and of two tokens or more themselves. A draw of the null calls one of a place's words the typo, which may be the typo: so of a model that tells them not apart p is exact.",
    ],
  };
}

/** Draws in which any of a place's words is called its typo. */
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

/** A word with one letter wrong; undefined where it hasn't one that could be. */
export function misspell(word: string, kind: Kind, random: Random): string | undefined {
  // The first letter stays, and so does one that stands beside its like.
  const places = Array.from({ length: word.length - 2 }, (_, i) => i + 1).filter(
    (i) => word[i] !== word[i - 1] && word[i] !== word[i + 1],
  );
  if (places.length === 0) return undefined;
  const at = places[Math.floor(random.uniform() * places.length)];
  const [head, letter, next, tail] = [word.slice(0, at), word[at], word[at + 1], word.slice(at + 2)];
  if (kind === "swapped") return head + next + letter + tail;
  return kind === "dropped" ? head + next + tail : head + letter + letter + next + tail;
}

/** Words of the text with their typos and controls, each word once. */
function itemsOf(context: ProbeContext, count: number): { items: Item[]; skipped: number } {
  const { text, model } = context;
  const { tokenizer, config } = model.model;
  const before = Math.min(24, Math.ceil(config.context / 3));
  const after = Math.min(8, Math.ceil(config.context / 4));
  const texts = Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenText(id));
  const isWord = texts.map((token) => /^ [a-z]{5,}$/.test(token));
  const goesOn = texts.map((token) => /^[\p{L}\p{N}'’]/u.test(token));
  const places: number[] = [];
  for (let at = before; at + 1 + after <= text.length; at++) {
    if (isWord[text[at]] && !goesOn[text[at + 1]]) places.push(at);
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

/** Tokens that words are looked for in. */
const MOST_TEXT = 400_000;

const keyOf = (word: string, tokens: number): string => `${word.length} letters, ${tokens} tokens`;

/** The text's words by their length and number of tokens. */
function controlPool({ text, model: { model } }: ProbeContext): Map<string, string[]> {
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
  /** The position of the last token of what stands in the place. */
  last: number;
}

/** Of one item and role, the residual stream (L+1,d) where the word has been read. */
type Streams = Map<Role, Float32Array[]>;

async function measure(
  context: ProbeContext,
  items: readonly Item[],
): Promise<{ measured: Measured[]; streams: Streams }> {
  const { model } = context.model;
  const names = depths(model.config);
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
  const readings: { loss: number; kl: number }[][] = items.map(() => []);
  const streams: Streams = new Map();
  let cleanLogits: Float32Array[] = [];
  let done = 0;
  for await (const { item: variant, logits, kept } of forwards(context, variants, { keep: names })) {
    const { after } = items[variant.item];
    const rows = Array.from(after, (_, i) => logits(variant.last + i));
    // The clean word's sequence comes first, and is compared with those that follow it.
    if (variant.role === "the word itself") cleanLogits = rows.map((row) => row.slice());
    const losses = rows.map((row, i) => crossEntropy(row, after[i]));
    const kls = rows.map((row, i) => klDivergence(cleanLogits[i], row));
    readings[variant.item].push({ loss: mean(losses), kl: mean(kls) });
    const stream = streams.get(variant.role) ?? [];
    streams.set(variant.role, stream);
    // Of the random words the first.
    if (stream.length === variant.item) {
      stream.push(Float32Array.from(names.flatMap((name) => Array.from(kept(name, variant.last)))));
    }
    done++;
    await context.progress((0.8 * done) / variants.length);
  }
  const measured = items.map((item, i): Measured => {
    const [clean, typos, ...byControl] = readings[i];
    return { ...item, cleanLoss: clean.loss, typos, byControl };
  });
  return { measured, streams };
}

/** By role, item and depth: the clean token's rank, seen through the lens. */
async function ranksByDepth(
  context: ProbeContext,
  items: readonly Item[],
  streams: Streams,
): Promise<Map<Role, number[][]>> {
  const d = context.model.embedding.columns;
  const count = depths(context.model.model.config).length;
  const ranks = new Map<Role, number[][]>();
  for (const [role, stream] of streams) {
    const rows = matrix(items.length * count, d);
    for (const [i, values] of stream.entries()) {
      for (let l = 0; l < count; l++) rowOf(rows, i * count + l).set(values.subarray(l * d, (l + 1) * d));
    }
    const found: number[][] = items.map(() => []);
    let row = 0;
    for await (const logits of lens(context, rows)) {
      const item = Math.floor(row++ / count);
      found[item].push(rankOf(logits, items[item].clean));
    }
    ranks.set(role, found);
  }
  return ranks;
}

// ---- figures ----------------------------------------------------------------------------------------------

function byKind(
  context: ProbeContext,
  measured: readonly Measured[],
  about: {
    title: string;
    caption: string;
    label: string;
    figure: (reading: Reading, item: Measured) => number;
  },
): Figure {
  const { title, caption, label, figure } = about;
  const bar = (name: string, items: readonly Measured[]) => {
    const values = items.map((item) => figure(item.typos, item));
    const [low, high] = bootstrap(values, mean, context.random(`${title}/${name}`));
    const chance = mean(items.flatMap((item) => item.byControl.map((reading) => figure(reading, item))));
    return { name, value: mean(values), low, high, null: chance };
  };
  const bars = [
    bar("all typos", measured),
    ...KINDS.map((kind) => ({ kind, items: measured.filter((item) => item.kind === kind) }))
      .filter(({ items }) => items.length > 0)
      .map(({ kind, items }) => bar(`letters ${kind}`, items)),
  ];
  return { type: "bars", title, caption, y: { label }, bars };
}

/** Geometric means, with their intervals. */
function recovery(context: ProbeContext, ranks: Map<Role, number[][]>): Figure {
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
    title: "Where the word that was meant appears",
    caption:
      "The rank of the word's own token in what the readout would say at each depth, at the last token of what stands in its " +
      "place (geometric mean). A model that mends a typo lifts the word that was meant; chance is what it does after random words.",
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
    caption: "Some of them: how much worse the words that follow are predicted, in nats per token.",
    columns: ["word", "typo", "ΔCE", "a random word", "ΔCE"],
    rows: measured
      .slice(0, 12)
      .map(({ word, typo, controls }, i) => [word, typo, costs[i], controls[0], controlCosts[i][0]]),
  };
}
