import type { Intervention } from "../../interventions/spec.ts";
import { type Direction, directionAlong } from "../../math/direction.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote } from "../../text/word-sets.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";
import {
  along,
  blocksBetween,
  forwards,
  type Push,
  randomPushDirections,
  residual,
  visible,
  windows,
} from "../passes/forward-passes.ts";
import { openings } from "../passes/prompts.ts";
import { type Arm, type Outcome, outcomesOf, type Pair, promptsOf, type Task } from "../passes/sentiment.ts";

/** From one fraction of depth to another. The first is the source's: 12 of 32 blocks. */
const RANGES = [
  [0, 0.38],
  [0.38, 0.75],
  [0.62, 1],
  [0, 1],
] as const;
/** Of all blocks of a range together, in units of the residual's norm. */
const STRENGTHS = [0.25, 0.5, 1, 2, 4];
const CLAIMED = 1;
/** Random directions of the frontier. */
const OTHERS = 4;

/** Can sentiment be flipped? */
export const steer: Probe = {
  id: "steer",
  question: "Can sentiment be flipped?",
  inapplicable: ({ words }) =>
    words.sentiment.length < 4
      ? "fewer than four pairs of good and bad words are of single tokens"
      : undefined,
  run,
};

/** The same of one way to steer, or of several that are alike: means. */
interface Summary extends Pick<Arm, "method" | "range" | "strength"> {
  /** How far sentiment moves, nats. */
  shift: number;
  /** The share of prompts that now are as those that say something good. */
  success: number;
  /** ΔCE of unrelated text, nats a token. */
  cost: number;
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, words, draws, quick, progress } = context;
  const { n_layers } = model.model.config;
  // Half of the pairs steer and the others are looked at: what is pushed along rises in any model of a tied table.
  const steering = words.sentiment.filter((_, i) => i % 2 === 0);
  const measured = words.sentiment.filter((_, i) => i % 2 === 1);
  const { prompts, twins, notes } = promptsOf(context, steering[0], {
    count: quick ? 6 : 16,
    // Room for what is said of it, and for what prompting puts before it.
    most: model.model.config.context - 2 - steering.length,
  });
  const length = Math.min(33, model.model.config.context - steering.length);
  const texts = windows(context, { count: quick ? 4 : 16, length }, context.random("texts"));
  const parameters = { pairs: steering.length, measuredPairs: measured.length, prompts: prompts.length };
  if (prompts.length === 0) {
    return { parameters, claims: [], figures: [], notes: [...notes, "The text is too short for prompts."] };
  }
  const task: Task = { prompts, texts, measured };

  const u = along(
    model,
    steering.flatMap(({ negative, positive }) => [
      { id: positive.id, coefficient: 1 },
      { id: negative.id, coefficient: -1 },
    ]),
  );
  const arm = (method: string, u: Direction, range: readonly [number, number], strength: number): Arm => {
    const layers = blocksBetween(n_layers, ...range);
    const by = strength / (layers[1] - layers[0] + 1);
    return { method, range, strength, push: { u, by, unit: "residNorm", layers } };
  };
  const [source] = RANGES;
  const others = await randomPushDirections(model, OTHERS, context.random("others"));
  const means = await differenceOfMeans(context, steering, blocksBetween(n_layers, ...source)[1]);
  const arms: Arm[] = [
    { method: "default" },
    ...RANGES.flatMap((range) => STRENGTHS.map((strength) => arm("expression", u, range, strength))),
    ...STRENGTHS.flatMap((strength) => [
      arm("opposite sign", u, source, -strength),
      ...others.map((other) => arm("random direction", other, source, strength)),
      ...(means ? [arm("difference of means", means, source, strength)] : []),
    ]),
    { method: "prompting", prefix: steering.map(({ positive }) => positive.id) },
  ];
  const outcomes = await outcomesOf(context, task, arms, [0, 0.4]);
  const [before] = outcomes;
  const [goal] = await outcomesOf(
    context,
    { ...task, prompts: twins, texts: [] },
    arms.slice(0, 1),
    [0.4, 0.4],
  );
  const summaries = summarised(outcomes, goal.scores);
  const claimed = outcomes.find(
    ({ arm }) => arm.method === "expression" && arm.range === source && arm.strength === CLAIMED,
  )!;
  const shifts = claimed.scores.map((score, i) => score - before.scores[i]);

  const directions = await randomPushDirections(model, draws.forward, context.random("draws"));
  const random = directions.map((other) => arm("random direction", other, source, CLAIMED));
  const drawn = await outcomesOf(context, { ...task, texts: [] }, random, [0.4, 0.95]);
  const values = drawn.map(({ scores }) => mean(scores) - mean(before.scores));
  const texted = await sideBySide(context, steering, task, claimed.arm.push!);
  await progress(1);
  return {
    parameters: { ...parameters, strength: CLAIMED, toDepth: source[1], draws: draws.forward },
    claims: [
      claim(
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
      texted,
      histogram(
        {
          title: "Sentiment moved by random directions",
          caption:
            "How far the preference for good words moves, of random directions of the same size, and as observed.",
        },
        { label: "shift", unit: "nats" },
        values,
        mean(shifts),
      ),
    ],
    notes: [
      leftOutNote(words, "sentiment", "pairs of good and bad words"),
      `Steered along ${expressionOf(steering)}. What is measured are other pairs: ${measured.map(({ negative, positive }) => `${negative.text}/${positive.text}`).join(", ")}. Pushing along a word's own embedding makes that word likelier in an untrained model too, as its table is tied.`,
      ...notes,
    ],
  };
}

const expressionOf = (pairs: readonly Pair[]): string =>
  `${pairs.map(({ positive }) => positive.text).join(" + ")} - ${pairs.map(({ negative }) => negative.text).join(" - ")}`;

/**
 * From the mean of the residual stream after bad texts to that after good ones: of labelled sentences, where the caller gave
 * some, or of openings that end in a good or a bad word. (Panickssery et al. 2023)
 */
async function differenceOfMeans(
  context: ProbeContext,
  pairs: readonly Pair[],
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
  for await (const { item, kept } of forwards(context, items, { keep: [residual(layer)] })) {
    const weight = item.positive ? 1 / counts[0] : -1 / counts[1];
    for (const [i, x] of kept(residual(layer), item.ids.length - 1).entries()) v[i] += weight * x;
  }
  return directionAlong(v);
}

// ---- figures ----------------------------------------------------------------------------------------------

/** @param goal the scores of prompts that say something good */
function summarised(outcomes: readonly Outcome[], goal: readonly number[]): Summary[] {
  const [before] = outcomes;
  const alike = Map.groupBy(
    outcomes,
    ({ arm: { method, range, strength } }) => `${method} ${range} ${strength}`,
  );
  return [...alike.values()].map((some): Summary => {
    const { method, range, strength } = some[0].arm;
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

const rangeName = (range: Arm["range"]): string => (range ? `depth ${range[0]}–${range[1]}` : "");

function frontier(summaries: readonly Summary[]): Figure {
  return {
    type: "scatter",
    title: "Success and what it costs",
    caption:
      "Each point is a way to steer, with its strength. Success is the share of prompts that say something bad, after which good " +
      `words are as likely, against bad ones, as if they said something good: ${summaries[0].success.toFixed(2)} without steering. Cost is how much worse ` +
      "unrelated text is predicted. Random directions are chance.",
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
  const at = (range: Arm["range"], strength: number) =>
    summaries.find(
      (each) => each.method === "expression" && each.range === range && each.strength === strength,
    )!;
  return {
    type: "heatmap",
    title: "How far sentiment moves, by layers and strength",
    caption:
      "The shift of good words against bad ones, of the expression. Strength is that of all blocks together.",
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
    title: "Ways to steer",
    caption: `The shift of good words against bad ones, success, and the cost. Random directions are ${OTHERS}, their mean.`,
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

/** Tokens that are generated for the eye. */
const SHOWN_TOKENS = 16;

async function sideBySide(
  { model: { model }, progress }: ProbeContext,
  steering: readonly Pair[],
  { prompts }: Task,
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
    caption: `The likeliest continuations, as the model goes on, steered along the expression, and the other way, with strength ${CLAIMED}.`,
    columns: ["prompt", "default", "steered", "opposite sign"],
    rows: shown.map((ids, i) =>
      [model.tokenizer.decode(ids), ...texts.map((written) => written[i])].map(visible),
    ),
  };
}
