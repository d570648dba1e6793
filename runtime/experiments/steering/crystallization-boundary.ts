import { lengthOf } from "../../math/direction.ts";
import { shuffle } from "../../math/permutation.ts";
import { bootstrap, type Interval, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word } from "../../text/word-sets.ts";
import type { ClaimSpecs } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import type { Figure } from "../framework/figure.ts";
import { fall, fallClaim, meanOfBothOrders } from "../passes/depth-trend.ts";
import {
  forwardPasses,
  type Push,
  pushHooks,
  residualHook,
  type Sequence,
  sumDirection,
  textWindows,
} from "../passes/forward-passes.ts";
import { crossEntropy, likeliest } from "../passes/predictions.ts";

/** Sizes of pushes, in units of the residual norm. */
const ALPHAS = [0.25, 0.5, 1, 2, 4];
const CLAIMED = 1;
const SHORT = 8;
const LONG = 64;
/** Maximum number of blocks tried, evenly spaced. */
const MOST_BLOCKS = 12;

const CLAIMS = {
  "crystallization.boundary": {
    kind: "free",
    statement: "A push of the same relative size does less in later layers than over shuffled layers.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const crystallization = {
  id: "crystallization",
  question: "After which layer is it too late?",
  method:
    "The same push is applied at different depths: after which layer is it too late to change the answer? Pushes are " +
    "scaled to the residual norm, which grows with depth. Null: the same layers in shuffled order.",
  reported: "a boundary at .38 to .56 of depth, later with long contexts",
  claims: CLAIMS,
  inapplicable: ({ model, words }) => {
    if (model.model.config.n_layers < 2) return "a model with one layer has no later layer";
    return words.categories.length === 0 ? "no category has words that are single tokens" : undefined;
  },
  run,
} as const satisfies Experiment;

/** A prompt, and the word that it is pushed towards. */
interface Prompt {
  ids: Int32Array;
  word: Word;
}

/** Effects of pushes by prompt and block, (prompts,blocks). */
interface Effects {
  /** Rise of the word's log-probability, nats. */
  gain: number[][];
  /** 1 if the word is the likeliest token, else 0. */
  top: number[][];
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, quick, progress } = context;
  const { config } = model.model;
  const blocks = blocksOf(config.n_layers);
  const short = promptsOf(context, { count: quick ? 32 : 64, length: Math.min(SHORT, config.context) });
  const long = promptsOf(context, { count: quick ? 12 : 32, length: Math.min(LONG, config.context) });
  const parameters = { prompts: short.length, longPrompts: long.length, length: SHORT, longLength: LONG };
  const left = leftOutNote(words, "categories", "words of the categories");
  if (short.length < 2) {
    return { parameters, claims: [], figures: [], notes: [left, "The text is too short for prompts."] };
  }

  const relative: Effects[] = [];
  for (const [i, by] of ALPHAS.entries()) {
    relative.push(await effectsOf(context, short, blocks, { by, unit: "residNorm" }));
    await progress((0.6 * (i + 1)) / ALPHAS.length);
  }
  const claimed = relative[ALPHAS.indexOf(CLAIMED)];
  const norm = await meanNorm(context, short, blocks[0]);
  const constant = await effectsOf(context, short, blocks, { by: CLAIMED * norm, unit: "raw" });
  await progress(0.75);
  const inLong =
    long.length >= 2 ? await effectsOf(context, long, blocks, { by: CLAIMED, unit: "residNorm" }) : undefined;
  await progress(0.98);

  const falls = claimed.gain.map(fall);
  const { claim, spread } = fallClaim(context, CLAIMS, "crystallization.boundary", falls, {
    title: "Fall of the gain with shuffled layers",
    x: { label: "fall from the first layer to the last", unit: "nats" },
  });
  const depths = blocks.map((block) => (block + 1) / config.n_layers);
  const curves = [
    { name: "relative push", effects: claimed },
    { name: "constant push", effects: constant },
    ...(inLong ? [{ name: "relative push, long contexts", effects: inLong }] : []),
  ];
  return {
    parameters: { ...parameters, blocks: blocks.length, alpha: CLAIMED, draws: draws.cheap },
    claims: [claim],
    figures: [
      map(relative, depths, {
        title: "Success of pushes by depth",
        caption:
          "Fraction of prompts after which the word is the likeliest token, with a push at the output of one block.",
        label: "fraction of prompts",
        figure: ({ top }) => top,
      }),
      map(relative, depths, {
        title: "Gain of pushes",
        caption: "Rise of the word's log-probability.",
        label: "gain, nats",
        figure: ({ gain }) => gain,
      }),
      gains(context, curves, depths),
      boundaries(context, curves, depths),
      spread,
    ],
    notes: [
      left,
      "Each prompt of held-out text is pushed along the embedding of its own word, at every position. A relative push has the " +
        `size of the residual at each block. A constant push has that of the first block (${norm.toPrecision(3)}) at every block, and is therefore ever smaller relative to a growing residual.`,
      "The boundary is the depth at which a push makes its word the likeliest token half as often as at the best depth; at 1 it is never too late.",
    ],
  };
}

function blocksOf(layers: number): number[] {
  const count = Math.min(layers, MOST_BLOCKS);
  return Array.from({ length: count }, (_, i) => Math.round((i * (layers - 1)) / (count - 1)));
}

/** Windows of text, each with a word of the categories; words repeat only once all are used. */
function promptsOf(
  context: ExperimentContext,
  { count, length }: { count: number; length: number },
): Prompt[] {
  const random = context.random(`prompts of ${length}`);
  const words = shuffle(
    context.words.categories.flatMap(({ words }) => words),
    random,
  );
  return textWindows(context, { count, length }, random).map((ids, i) => ({
    ids,
    word: words[i % words.length],
  }));
}

// ---- measuring --------------------------------------------------------------------------------------------

interface Item extends Sequence {
  prompt: number;
  word: Word;
  push?: Push;
}

/** Runs each prompt without a push and with a push at each block. */
async function effectsOf(
  context: ExperimentContext,
  prompts: readonly Prompt[],
  blocks: readonly number[],
  size: Pick<Push, "by" | "unit">,
): Promise<Effects> {
  const items = prompts.flatMap(({ ids, word }, prompt): Item[] => {
    const u = sumDirection(context.model, [{ id: word.id, coefficient: 1 }]);
    const pushed = blocks.map((block) => ({
      ids,
      prompt,
      word,
      push: { u, ...size, layers: [block, block] as const },
    }));
    return [{ ids, prompt, word }, ...pushed];
  });
  const effects: Effects = { gain: prompts.map(() => []), top: prompts.map(() => []) };
  let before = 0;
  for await (const { item, logits } of forwardPasses(context, items, { hooks: pushHooks })) {
    const last = logits(item.ids.length - 1);
    const loss = crossEntropy(last, item.word.id);
    if (!item.push) before = loss;
    else {
      effects.gain[item.prompt].push(before - loss);
      effects.top[item.prompt].push(likeliest(last) === item.word.id ? 1 : 0);
    }
  }
  return effects;
}

/** ‖x‖ at the output of a block, mean over all positions. */
async function meanNorm(
  context: ExperimentContext,
  prompts: readonly Prompt[],
  block: number,
): Promise<number> {
  const norms: number[] = [];
  for await (const { item, activation } of forwardPasses(context, prompts, {
    record: [residualHook(block)],
  })) {
    for (let t = 0; t < item.ids.length; t++) norms.push(lengthOf(activation(residualHook(block), t)));
  }
  return mean(norms);
}

/**
 * The depth at which values have fallen to half of their maximum, by linear interpolation between depths; 1 if they never
 * have, and 0 if no value is positive.
 */
export function boundaryOf(depths: readonly number[], values: readonly number[]): number {
  const most = Math.max(...values);
  if (!(most > 0)) return 0;
  for (let l = values.indexOf(most) + 1; l < values.length; l++) {
    const [above, below] = [values[l - 1], values[l]];
    if (below >= most / 2) continue;
    return depths[l - 1] + ((above - most / 2) / (above - below)) * (depths[l] - depths[l - 1]);
  }
  return 1;
}

// ---- figures ----------------------------------------------------------------------------------------------

interface Curve {
  name: string;
  effects: Effects;
}

/** Mean over prompts, by block. */
const overPrompts = (byPrompt: readonly (readonly number[])[]): number[] =>
  byPrompt[0].map((_, l) => mean(byPrompt.map((values) => values[l])));

const depthName = (depth: number): string => depth.toFixed(2);

function map(
  relative: readonly Effects[],
  depths: readonly number[],
  about: { title: string; caption: string; label: string; figure: (effects: Effects) => number[][] },
): Figure {
  const { title, caption, label, figure } = about;
  const byAlpha = relative.map((effects) => overPrompts(figure(effects)));
  return {
    type: "heatmap",
    title,
    caption,
    x: { label: "α", unit: "residual norm" },
    y: { label: "depth" },
    value: { label },
    columns: ALPHAS.map(String),
    rows: depths.map(depthName),
    values: depths.map((_, l) => byAlpha.map((values) => values[l])),
  };
}

function gains(context: ExperimentContext, curves: readonly Curve[], depths: readonly number[]): Figure {
  const x = [...depths];
  return {
    type: "lines",
    title: "Gain of pushes by depth",
    caption: `Pushes with the size of the residual (α = ${CLAIMED}) at each block, with a constant size, and in long contexts. Null: the mean with shuffled layers.`,
    x: { label: "depth" },
    y: { label: "gain of log-probability", unit: "nats" },
    series: [
      ...curves.map(({ name, effects: { gain } }) => {
        const bands = x.map((_, l) =>
          bootstrap(
            gain.map((values) => values[l]),
            mean,
            context.random(`${name}/${l}`),
          ),
        );
        return {
          name,
          x,
          y: overPrompts(gain),
          low: bands.map(([low]) => low),
          high: bands.map(([, high]) => high),
        };
      }),
      { name: "shuffled layers", x, y: meanOfBothOrders(overPrompts(curves[0].effects.gain)), isNull: true },
    ],
  };
}

function boundaries(context: ExperimentContext, curves: readonly Curve[], depths: readonly number[]): Figure {
  const boundary = (byPrompt: readonly (readonly number[])[]) => boundaryOf(depths, overPrompts(byPrompt));
  return {
    type: "bars",
    title: "The boundary",
    caption:
      "Depth at which a push makes the word the likeliest token half as often as at its maximum, with its interval over prompts; 1 means never.",
    y: { label: "depth" },
    bars: curves.map(({ name, effects: { top } }) => {
      const [low, high]: Interval = bootstrap(top, boundary, context.random(`boundary/${name}`));
      return { name, value: boundary(top), low, high };
    }),
  };
}
