import { groupBy } from "../../common/compatibility.ts";
import type { Intervention } from "../../interventions/spec.ts";
import { type Direction, directionAlong } from "../../math/direction.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote } from "../../text/word-sets.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import {
  blocksBetween,
  forwardPasses,
  type Push,
  randomPushDirections,
  residualHook,
  sumDirection,
  textWindows,
  visible,
} from "../passes/forward-passes.ts";
import { openings } from "../passes/prompts.ts";
import {
  type Outcome,
  outcomesOf,
  promptsOf,
  type SentimentPair,
  type SentimentTask,
  type Treatment,
} from "../passes/sentiment.ts";

/** Ranges of depth, as fractions. The first is that of the original work: 12 of 32 blocks. */
const RANGES = [
  [0, 0.38],
  [0.38, 0.75],
  [0.62, 1],
  [0, 1],
] as const;
/** Total strength over all blocks of a range, in units of the residual norm. */
const STRENGTHS = [0.25, 0.5, 1, 2, 4];
const CLAIMED = 1;
/** Random directions shown in the scatter plot. */
const OTHERS = 4;

const CLAIMS = {
  "steer.sentiment": {
    kind: "free",
    statement: "Steering along an expression moves sentiment further than norm-matched random directions.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const steer = {
  id: "steer",
  question: "Can sentiment be flipped?",
  method:
    "Moving the residual stream along an expression such as great − terrible should turn the sentiment of the " +
    "continuation, at some cost in loss. Null: random directions of the same length.",
  reported: "that terrible becomes great when the first .38 of depth is steered",
  claims: CLAIMS,
  inapplicable: ({ words }) =>
    words.sentiment.length < 4
      ? "fewer than four pairs of positive and negative words are single tokens"
      : undefined,
  run,
} as const satisfies Experiment;

/** The effect of a treatment, or the mean over treatments that differ only in their random direction. */
interface Summary extends Pick<Treatment, "method" | "range" | "strength"> {
  /** Shift of sentiment, nats. */
  shift: number;
  /** Fraction of prompts whose sentiment reaches that of their positive twin. */
  success: number;
  /** ΔCE on unrelated text, nats per token. */
  cost: number;
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, quick, progress } = context;
  const { n_layers } = model.model.config;
  // Half of the pairs steer and the other half is measured: with a tied table, pushing along a word always makes it likelier.
  const steering = words.sentiment.filter((_, i) => i % 2 === 0);
  const measured = words.sentiment.filter((_, i) => i % 2 === 1);
  const { prompts, twins, notes } = promptsOf(context, steering[0], {
    count: quick ? 6 : 16,
    // Leaves room for the sentiment word and for the prefix of the prompting treatment.
    most: model.model.config.context - 2 - steering.length,
  });
  const length = Math.min(33, model.model.config.context - steering.length);
  const texts = textWindows(context, { count: quick ? 4 : 16, length }, context.random("texts"));
  const parameters = { pairs: steering.length, measuredPairs: measured.length, prompts: prompts.length };
  if (prompts.length === 0) {
    return { parameters, claims: [], figures: [], notes: [...notes, "The text is too short for prompts."] };
  }
  const task: SentimentTask = { prompts, texts, measured };

  const u = sumDirection(
    model,
    steering.flatMap(({ negative, positive }) => [
      { id: positive.id, coefficient: 1 },
      { id: negative.id, coefficient: -1 },
    ]),
  );
  const treatment = (
    method: string,
    u: Direction,
    range: readonly [number, number],
    strength: number,
  ): Treatment => {
    const layers = blocksBetween(n_layers, ...range);
    const by = strength / (layers[1] - layers[0] + 1);
    return { method, range, strength, push: { u, by, unit: "residNorm", layers } };
  };
  const [source] = RANGES;
  const others = await randomPushDirections(model, OTHERS, context.random("others"));
  const means = await differenceOfMeans(context, steering, blocksBetween(n_layers, ...source)[1]);
  const treatments: Treatment[] = [
    { method: "default" },
    ...RANGES.flatMap((range) => STRENGTHS.map((strength) => treatment("expression", u, range, strength))),
    ...STRENGTHS.flatMap((strength) => [
      treatment("opposite sign", u, source, -strength),
      ...others.map((other) => treatment("random direction", other, source, strength)),
      ...(means ? [treatment("difference of means", means, source, strength)] : []),
    ]),
    { method: "prompting", prefix: steering.map(({ positive }) => positive.id) },
  ];
  const outcomes = await outcomesOf(context, task, treatments, [0, 0.4]);
  const [before] = outcomes;
  const [goal] = await outcomesOf(
    context,
    { ...task, prompts: twins, texts: [] },
    treatments.slice(0, 1),
    [0.4, 0.4],
  );
  const summaries = summarised(outcomes, goal.scores);
  const claimed = outcomes.find(
    ({ treatment }) =>
      treatment.method === "expression" && treatment.range === source && treatment.strength === CLAIMED,
  )!;
  const shifts = claimed.scores.map((score, i) => score - before.scores[i]);

  const directions = await randomPushDirections(model, draws.forward, context.random("draws"));
  const random = directions.map((other) => treatment("random direction", other, source, CLAIMED));
  const drawn = await outcomesOf(context, { ...task, texts: [] }, random, [0.4, 0.95]);
  const values = drawn.map(({ scores }) => mean(scores) - mean(before.scores));
  const continuations = await sideBySide(context, steering, task, claimed.treatment.push!);
  await progress(1);
  return {
    parameters: { ...parameters, strength: CLAIMED, toDepth: source[1], draws: draws.forward },
    claims: [
      claim(
        CLAIMS,
        "steer.sentiment",
        mean(shifts),
        { name: "random directions of the same size", values },
        bootstrap(shifts, mean, context.random("interval")),
      ),
    ],
    figures: [
      frontier(summaries),
      byRange(summaries),
      table(summaries),
      continuations,
      histogram(
        {
          title: "Sentiment moved by random directions",
          caption:
            "Shift of the preference for positive words: null from random directions of the same size, and observed value.",
        },
        { label: "shift", unit: "nats" },
        values,
        mean(shifts),
      ),
    ],
    notes: [
      leftOutNote(words, "sentiment", "pairs of positive and negative words"),
      `Steered along ${expressionOf(steering)}. Sentiment is measured with other pairs: ${measured.map(({ negative, positive }) => `${negative.text}/${positive.text}`).join(", ")}. Pushing along a word's own embedding makes that word likelier even in an untrained model, because the table is tied.`,
      ...notes,
    ],
  };
}

const expressionOf = (pairs: readonly SentimentPair[]): string =>
  `${pairs.map(({ positive }) => positive.text).join(" + ")} - ${pairs.map(({ negative }) => negative.text).join(" - ")}`;

/**
 * The direction from the mean residual stream after negative texts to that after positive texts (Panickssery et al. 2023).
 * The texts are the caller's labelled sentences, or else openings that end in a positive or a negative word.
 */
async function differenceOfMeans(
  context: ExperimentContext,
  pairs: readonly SentimentPair[],
  layer: number,
): Promise<Direction | undefined> {
  const { model, words, quick } = context;
  const { config } = model.model;
  const most = quick ? 32 : 128;
  const labelled = (positive: boolean) => {
    const sentences = words.sentences.filter((sentence) => sentence.positive === positive).slice(0, most);
    const bases = sentences.length > 0 ? [] : openings(context, config.context - 1).kept.slice(0, 4);
    return [
      ...sentences.map(({ text }) =>
        Array.from(model.model.tokenize(` ${text}`).subarray(0, Math.min(24, config.context))),
      ),
      ...bases.flatMap((ids) => pairs.map((pair) => [...ids, (positive ? pair.positive : pair.negative).id])),
    ].map((ids) => ({ ids, positive }));
  };
  const items = [...labelled(true), ...labelled(false)];
  const counts = [true, false].map((positive) => items.filter((item) => item.positive === positive).length);
  if (Math.min(...counts) === 0) return undefined;
  const v = new Float64Array(config.d_model);
  for await (const { item, activation } of forwardPasses(context, items, { record: [residualHook(layer)] })) {
    const weight = item.positive ? 1 / counts[0] : -1 / counts[1];
    for (const [i, x] of activation(residualHook(layer), item.ids.length - 1).entries()) v[i] += weight * x;
  }
  return directionAlong(v);
}

// ---- figures ----------------------------------------------------------------------------------------------

/** @param goal scores of the positive twins of the prompts */
function summarised(outcomes: readonly Outcome[], goal: readonly number[]): Summary[] {
  const [before] = outcomes;
  const alike = groupBy(
    outcomes,
    ({ treatment: { method, range, strength } }) => `${method} ${range} ${strength}`,
  );
  return [...alike.values()].map((some): Summary => {
    const { method, range, strength } = some[0].treatment;
    return {
      method,
      range,
      strength,
      shift: mean(some.map(({ scores }) => mean(scores) - mean(before.scores))),
      success: mean(some.map(({ scores }) => mean(scores.map((score, i) => (score >= goal[i] ? 1 : 0))))),
      cost: mean(some.map(({ loss }) => loss - before.loss)),
    };
  });
}

const rangeName = (range: Treatment["range"]): string => (range ? `depth ${range[0]}–${range[1]}` : "");

function frontier(summaries: readonly Summary[]): Figure {
  return {
    type: "scatter",
    title: "Success and cost",
    caption:
      "Each point is a treatment, labelled with its strength. Success is the fraction of negative prompts after which the preference " +
      `for positive words reaches that after their positive twins: ${summaries[0].success.toFixed(2)} without steering. Cost is the rise ` +
      "in the loss on unrelated text. Random directions are the null.",
    x: { label: "ΔCE on unrelated text", unit: "nats per token" },
    y: { label: "success" },
    points: summaries.map(({ method, range, strength, success, cost }) => ({
      x: cost,
      y: success,
      label: strength === undefined ? method : String(strength),
      group: [method, rangeName(range)].filter((part) => part !== "").join(", "),
    })),
  };
}

function byRange(summaries: readonly Summary[]): Figure {
  const at = (range: Treatment["range"], strength: number) =>
    summaries.find(
      (each) => each.method === "expression" && each.range === range && each.strength === strength,
    )!;
  return {
    type: "heatmap",
    title: "Shift of sentiment by layers and strength",
    caption:
      "Shift of positive against negative words when steering along the expression. Strength is the total over all blocks.",
    x: { label: "strength", unit: "residual norm" },
    y: { label: "layers" },
    value: { label: "shift", unit: "nats" },
    columns: STRENGTHS.map(String),
    rows: RANGES.map(rangeName),
    values: RANGES.map((range) => STRENGTHS.map((strength) => at(range, strength).shift)),
  };
}

function table(summaries: readonly Summary[]): Figure {
  return {
    type: "table",
    title: "Treatments",
    caption: `Shift of positive against negative words, success and cost. The rows of random directions are means over ${OTHERS}.`,
    columns: ["method", "layers", "strength", "shift (nats)", "success", "ΔCE (nats per token)"],
    rows: summaries.map(({ method, range, strength, shift, success, cost }) => [
      method,
      rangeName(range),
      strength ?? "",
      shift,
      success,
      cost,
    ]),
  };
}

/** Tokens generated per example. */
const SHOWN_TOKENS = 16;

async function sideBySide(
  { model: { model }, progress }: ExperimentContext,
  steering: readonly SentimentPair[],
  { prompts }: SentimentTask,
  { by, layers }: Push,
): Promise<Figure> {
  const shown = prompts.slice(0, 4);
  const intervention = (strength: number): Intervention => ({
    op: "add",
    target: { expression: expressionOf(steering) },
    hook: "hook_resid_post",
    layers,
    strength,
    unit: "residNorm",
  });
  const texts: string[][] = [];
  for (const strength of [0, by, -by]) {
    const written = shown.map(() => "");
    const options = { maxTokens: SHOWN_TOKENS, temperature: 0, interventions: [intervention(strength)] };
    for await (const event of model.generate(shown, options)) {
      written[event.index] += event.text;
      await progress();
    }
    texts.push(written);
  }
  return {
    type: "table",
    title: "Default and steered, side by side",
    caption: `Greedy continuations without steering, steered along the expression, and steered in the opposite direction, with strength ${CLAIMED}.`,
    columns: ["prompt", "default", "steered", "opposite sign"],
    rows: shown.map((ids, i) =>
      [model.tokenizer.decode(ids), ...texts.map((written) => written[i])].map(visible),
    ),
  };
}
