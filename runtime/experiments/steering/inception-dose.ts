import type { Direction } from "../../math/direction.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word } from "../../text/word-sets.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import {
  blocksBetween,
  forwardPasses,
  type Push,
  pushHooks,
  randomPushDirections,
  type Sequence,
  sumDirection,
  textWindows,
} from "../passes/forward-passes.ts";

/** Sizes of pushes, in units of the residual norm. */
const ALPHAS = [0.25, 0.5, 1, 2, 4, 8, 16, 32];
const QUICK_ALPHAS = [0.5, 1, 2, 4, 32];
/** Stands for a size beyond all of these. */
const BEYOND = 64;
/** Depth of the push, as a fraction: 12 of 32 blocks in the original work. */
const DEPTH = 0.38;

const CLAIMS = {
  "inception.alpha": {
    kind: "free",
    statement: "A concept needs a smaller push along its own direction than along random directions.",
    side: "less",
  },
} as const satisfies ClaimSpecs;

export const inception = {
  id: "inception",
  question: "How hard must a concept be pushed?",
  method:
    "A concept's direction is added until the concept is the likeliest next token; α is the smallest push that " +
    "achieves this, in units of the residual norm. Null: the same for random directions.",
  reported: "an α of about 18.4",
  claims: CLAIMS,
  inapplicable: ({ words }) =>
    conceptsOf(words.categories).length < 2
      ? "fewer than two categories have four words that are single tokens"
      : undefined,
  run,
} as const satisfies Experiment;

/** A set of tokens one of which should become the likeliest. */
interface Goal {
  readonly name: string;
  /** Tokens that count as success. */
  readonly targets: readonly number[];
  /** Tokens that are ignored because the push is along them. */
  readonly excluded: readonly number[];
}

interface Concept extends Goal {
  /** The words that define the direction. */
  readonly from: readonly Word[];
}

/** Every second word of a category defines the direction; one of the others should become the likeliest. */
export const conceptsOf = (categories: readonly { name: string; words: readonly Word[] }[]): Concept[] =>
  categories
    .filter(({ words }) => words.length >= 4)
    .map(({ name, words }) => {
      const from = words.filter((_, i) => i % 2 === 0);
      const targets = words.filter((_, i) => i % 2 === 1).map(({ id }) => id);
      return { name, from, targets, excluded: from.map(({ id }) => id) };
    });

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, words, draws, quick, progress } = context;
  const { config } = model.model;
  const [, block] = blocksBetween(config.n_layers, 0, DEPTH);
  const alphas = quick ? QUICK_ALPHAS : ALPHAS;
  const length = Math.min(quick ? 6 : 8, config.context);
  const prompts = textWindows(context, { count: quick ? 2 : 4, length }, context.random("prompts"));
  const concepts = conceptsOf(words.categories);
  const parameters = {
    concepts: concepts.length,
    prompts: prompts.length,
    block: block + 1,
    depth: (block + 1) / config.n_layers,
  };
  const left = leftOutNote(words, "categories", "words of the categories");
  if (prompts.length === 0) {
    return { parameters, claims: [], figures: [], notes: [left, "The text is too short for prompts."] };
  }
  const task = { prompts, block, alphas };

  const own = concepts.map(({ from }) =>
    sumDirection(
      model,
      from.map(({ id }) => ({ id, coefficient: 1 })),
    ),
  );
  const byConcept = await marginsOf(context, task, own, concepts, [0, 0.1]);
  const pushed = concepts.map((_, k) => byConcept[k][k].map((margins) => smallestPush(alphas, margins)));
  const each = pushed.map((alphas) => mean(alphas.map(Math.log)));

  // Words along their own embedding, as in the original work; many sizes, so that no sign change is missed.
  const fine = Array.from({ length: 25 }, (_, i) => 0.25 * 2 ** ((i * 7) / 24));
  const goals = words.shown.map(({ text, id }): Goal => ({ name: text, targets: [id], excluded: [] }));
  const embeddings = words.shown.map(({ id }) => sumDirection(model, [{ id, coefficient: 1 }]));
  const byWord = await marginsOf(context, { ...task, alphas: fine }, embeddings, goals, [0.1, 0.2]);

  const directions = await randomPushDirections(model, draws.forward, context.random("draws"));
  const drawn = await marginsOf(context, task, directions, [...concepts, ...goals], [0.2, 1]);
  const logs = drawn.map((byGoal) =>
    byGoal.map((byPrompt) => mean(byPrompt.map((margins) => Math.log(smallestPush(alphas, margins))))),
  );
  // Draw m uses a different direction for each concept, and no direction is used twice for a concept.
  const values = Float64Array.from(directions, (_, m) =>
    Math.exp(mean(concepts.map((_, k) => logs[(m + k) % directions.length][k]))),
  );
  const nullAlphas = [...concepts, ...goals].map((_, k) => Math.exp(mean(logs.map((byGoal) => byGoal[k]))));
  const geometric = (some: readonly number[]) => Math.exp(mean(some));
  await progress(1);
  return {
    parameters: { ...parameters, draws: draws.forward },
    claims: [
      claim(
        CLAIMS,
        "inception.alpha",
        geometric(each),
        { name: "random directions", values },
        bootstrap(each, geometric, context.random("interval")),
      ),
    ],
    figures: [
      {
        type: "bars",
        title: "Smallest sufficient push per concept",
        caption:
          "The smallest push (geometric mean over prompts) along half of a concept's words that makes another of its words the " +
          `likeliest token. ${BEYOND} stands for any value above ${alphas.at(-1)}. Marked: random directions.`,
        y: { label: "α", unit: "residual norm", log: true },
        bars: concepts.map(({ name }, k) => ({ name, value: Math.exp(each[k]), null: nullAlphas[k] })),
      },
      reached(alphas, concepts, byConcept, drawn),
      wordsTable(goals, fine, byWord, nullAlphas.slice(concepts.length)),
      histogram(
        {
          title: "Pushes along random directions",
          caption:
            "Smallest push that makes a word of the concept the likeliest: null from random directions, and observed value.",
        },
        { label: "α", unit: "residual norm" },
        values,
        geometric(each),
      ),
    ],
    notes: [
      left,
      `Every position is pushed at the output of block ${block + 1} of ${config.n_layers}. Even in an untrained model, a word's own embedding makes it the likeliest, because the table is tied. A concept is therefore pushed along one half of its words, which are then ignored, and tested with the other half.`,
    ],
  };
}

// ---- measuring --------------------------------------------------------------------------------------------

interface Task {
  prompts: readonly Int32Array[];
  block: number;
  alphas: readonly number[];
}

interface Item extends Sequence {
  direction: number;
  prompt: number;
  push: Push;
}

/** Margin of the goal's logit over all others, by direction, goal, prompt and α. */
async function marginsOf(
  context: ExperimentContext,
  { prompts, block, alphas }: Task,
  directions: readonly Direction[],
  goals: readonly Goal[],
  [from, to]: readonly [number, number],
): Promise<number[][][][]> {
  const items = directions.flatMap((u, direction) =>
    prompts.flatMap((ids, prompt) =>
      alphas.map(
        (by): Item => ({
          ids,
          direction,
          prompt,
          push: { u, by, unit: "residNorm", layers: [block, block] },
        }),
      ),
    ),
  );
  const found = directions.map(() => goals.map(() => prompts.map((): number[] => [])));
  let done = 0;
  for await (const { item, logits } of forwardPasses(context, items, { hooks: pushHooks })) {
    const last = logits(item.ids.length - 1);
    for (const [g, goal] of goals.entries()) found[item.direction][g][item.prompt].push(margin(last, goal));
    done++;
    await context.progress(from + ((to - from) * done) / items.length);
  }
  return found;
}

/** Margin of the best target logit over all other logits, except the excluded ones. */
export function margin(
  logits: Float32Array,
  { targets, excluded }: Pick<Goal, "targets" | "excluded">,
): number {
  const best = Math.max(...targets.map((id) => logits[id]));
  const skipped = new Set([...targets, ...excluded]);
  let other = -Infinity;
  for (let id = 0; id < logits.length; id++) if (logits[id] > other && !skipped.has(id)) other = logits[id];
  return best - other;
}

/** Sign changes of a margin, by linear interpolation between sizes on a logarithmic scale. */
export function signChanges(
  alphas: readonly number[],
  margins: readonly number[],
): { alpha: number; to: "ahead" | "behind" }[] {
  const changes: { alpha: number; to: "ahead" | "behind" }[] = [];
  if (margins[0] > 0) changes.push({ alpha: alphas[0], to: "ahead" });
  for (let i = 1; i < alphas.length; i++) {
    const [a, b] = [margins[i - 1], margins[i]];
    if (a > 0 === b > 0) continue;
    const alpha = alphas[i - 1] * (alphas[i] / alphas[i - 1]) ** (a / (a - b));
    changes.push({ alpha, to: b > 0 ? "ahead" : "behind" });
  }
  return changes;
}

/** The smallest size at which the margin is positive. */
export const smallestPush = (alphas: readonly number[], margins: readonly number[]): number =>
  signChanges(alphas, margins)[0]?.alpha ?? BEYOND;

// ---- figures ----------------------------------------------------------------------------------------------

function reached(
  alphas: readonly number[],
  concepts: readonly Concept[],
  byConcept: readonly number[][][][],
  drawn: readonly number[][][][],
): Figure {
  const fraction = (margins: readonly (readonly number[])[], i: number) =>
    mean(margins.map((margin) => (margin[i] > 0 ? 1 : 0)));
  const own = concepts.flatMap((_, k) => byConcept[k][k]);
  const random = drawn.flatMap((byGoal) => concepts.flatMap((_, k) => byGoal[k]));
  const x = [...alphas];
  return {
    type: "lines",
    title: "Concepts reached, by size of push",
    caption: "Fraction of concepts and prompts for which a held-out word is the likeliest token.",
    x: { label: "α", unit: "residual norm", log: true },
    y: { label: "fraction" },
    series: [
      { name: "along the concept", x, y: x.map((_, i) => fraction(own, i)) },
      { name: "random directions", x, y: x.map((_, i) => fraction(random, i)), isNull: true },
    ],
  };
}

function wordsTable(
  goals: readonly Goal[],
  alphas: readonly number[],
  byWord: readonly number[][][][],
  nullAlphas: readonly number[],
): Figure {
  const shown = (alpha: number) => Number(alpha.toPrecision(3));
  return {
    type: "table",
    title: "Words along their own embedding",
    caption:
      "The smallest push that makes the word the likeliest token (geometric mean over prompts), all sign changes after the first prompt, " +
      `and the smallest push along random directions. ${BEYOND} stands for any value above ${alphas.at(-1)}. An untrained model with a tied table shows this too.`,
    columns: ["word", "α", "changes", "α of random directions"],
    rows: goals.map(({ name }, g) => {
      const prompts = byWord[g][g];
      const least = Math.exp(mean(prompts.map((margins) => Math.log(smallestPush(alphas, margins)))));
      const changes = signChanges(alphas, prompts[0]).map(({ alpha, to }) => `${to} from ${shown(alpha)}`);
      return [name, shown(least), changes.join(", ") || "none", shown(nullAlphas[g])];
    }),
  };
}
