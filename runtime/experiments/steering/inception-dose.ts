import type { Direction } from "../../math/direction.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { leftOutNote, type Word } from "../../text/word-sets.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { claim } from "../framework/statistics.ts";
import {
  along,
  blocksBetween,
  forwards,
  type Push,
  pushes,
  randomPushDirections,
  type Sequence,
  windows,
} from "../passes/forward-passes.ts";

/** Pushes that are tried, in units of the residual's norm. */
const ALPHAS = [0.25, 0.5, 1, 2, 4, 8, 16, 32];
const QUICK_ALPHAS = [0.5, 1, 2, 4, 32];
/** What stands for a push that none of these was enough for. */
const BEYOND = 64;
/** Where is pushed, as a fraction of depth: the source's 12 of 32 blocks. */
const DEPTH = 0.38;

/** How hard must one push a concept in? */
export const inception: Probe = {
  id: "inception",
  question: "How hard must one push a concept in?",
  inapplicable: ({ words }) =>
    conceptsOf(words.categories).length < 2
      ? "fewer than two categories have four words of single tokens"
      : undefined,
  run,
};

/** What is to become the likeliest token. */
interface Goal {
  readonly name: string;
  /** Any of these. */
  readonly wanted: readonly number[];
  /** Not counted, for or against: what was pushed along. */
  readonly aside: readonly number[];
}

interface Concept extends Goal {
  /** The words that make its direction. */
  readonly from: readonly Word[];
}

/** Every second word of a category makes the direction; one of the others is to become the likeliest. */
export const conceptsOf = (categories: readonly { name: string; words: readonly Word[] }[]): Concept[] =>
  categories
    .filter(({ words }) => words.length >= 4)
    .map(({ name, words }) => {
      const from = words.filter((_, i) => i % 2 === 0);
      const wanted = words.filter((_, i) => i % 2 === 1).map(({ id }) => id);
      return { name, from, wanted, aside: from.map(({ id }) => id) };
    });

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, words, draws, quick, progress } = context;
  const { config } = model.model;
  const [, block] = blocksBetween(config.n_layers, 0, DEPTH);
  const alphas = quick ? QUICK_ALPHAS : ALPHAS;
  const length = Math.min(quick ? 6 : 8, config.context);
  const prompts = windows(context, { count: quick ? 2 : 4, length }, context.random("prompts"));
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
    along(
      model,
      from.map(({ id }) => ({ id, coefficient: 1 })),
    ),
  );
  const byConcept = await marginsOf(context, task, own, concepts, [0, 0.1]);
  const pushed = concepts.map((_, k) => byConcept[k][k].map((margins) => smallest(alphas, margins)));
  const each = pushed.map((alphas) => mean(alphas.map(Math.log)));

  // Words along their own embedding, as the source has it; many strengths, so that no change of sign is missed.
  const fine = Array.from({ length: 25 }, (_, i) => 0.25 * 2 ** ((i * 7) / 24));
  const goals = words.shown.map(({ text, id }): Goal => ({ name: text, wanted: [id], aside: [] }));
  const embeddings = words.shown.map(({ id }) => along(model, [{ id, coefficient: 1 }]));
  const byWord = await marginsOf(context, { ...task, alphas: fine }, embeddings, goals, [0.1, 0.2]);

  const directions = await randomPushDirections(model, draws.forward, context.random("draws"));
  const drawn = await marginsOf(context, task, directions, [...concepts, ...goals], [0.2, 1]);
  const logs = drawn.map((byGoal) =>
    byGoal.map((byPrompt) => mean(byPrompt.map((margins) => Math.log(smallest(alphas, margins))))),
  );
  // Draw m takes another direction for each concept, and no direction serves a concept twice.
  const values = Float64Array.from(directions, (_, m) =>
    Math.exp(mean(concepts.map((_, k) => logs[(m + k) % directions.length][k]))),
  );
  const chance = [...concepts, ...goals].map((_, k) => Math.exp(mean(logs.map((byGoal) => byGoal[k]))));
  const geometric = (some: readonly number[]) => Math.exp(mean(some));
  await progress(1);
  return {
    parameters: { ...parameters, draws: draws.forward },
    claims: [
      claim(
        "inception.alpha",
        geometric(each),
        { name: "random directions", values },
        bootstrap(each, geometric, context.random("interval")),
      ),
    ],
    figures: [
      {
        type: "bars",
        title: "How hard a concept must be pushed",
        caption:
          "The smallest push (geometric mean over prompts) along half of a concept's words that makes another of its words the " +
          `likeliest token. ${BEYOND} stands for more than ${alphas.at(-1)}. Marked: random directions.`,
        y: { label: "α", unit: "residual norm", log: true },
        bars: concepts.map(({ name }, k) => ({ name, value: Math.exp(each[k]), null: chance[k] })),
      },
      reached(alphas, concepts, byConcept, drawn),
      wordsTable(goals, fine, byWord, chance.slice(concepts.length)),
      histogram(
        {
          title: "Pushes along random directions",
          caption:
            "The push that makes a concept's word the likeliest, of random directions and as observed.",
        },
        { label: "α", unit: "residual norm" },
        values,
        geometric(each),
      ),
    ],
    notes: [
      left,
      `Every position is pushed where block ${block + 1} of ${config.n_layers} ends. A word's own embedding makes it the likeliest in an untrained model too, as its table is tied: so a concept is pushed along one half of its words, which then don't count, and is asked for by the others.`,
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

/** By direction, goal, prompt and α: how far the goal's logit is ahead of all others. */
async function marginsOf(
  context: ProbeContext,
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
  for await (const { item, logits } of forwards(context, items, { hooks: pushes })) {
    const last = logits(item.ids.length - 1);
    for (const [g, goal] of goals.entries()) found[item.direction][g][item.prompt].push(margin(last, goal));
    done++;
    await context.progress(from + ((to - from) * done) / items.length);
  }
  return found;
}

/** By how much the best of the wanted logits is ahead of all others but those that are aside. */
export function margin(logits: Float32Array, { wanted, aside }: Pick<Goal, "wanted" | "aside">): number {
  const best = Math.max(...wanted.map((id) => logits[id]));
  const skipped = new Set([...wanted, ...aside]);
  let other = -Infinity;
  for (let id = 0; id < logits.length; id++) if (logits[id] > other && !skipped.has(id)) other = logits[id];
  return best - other;
}

/** Where a margin changes its sign, and to which, by a straight line between pushes on a logarithmic scale. */
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

/** The smallest push that is enough. */
export const smallest = (alphas: readonly number[], margins: readonly number[]): number =>
  signChanges(alphas, margins)[0]?.alpha ?? BEYOND;

// ---- figures ----------------------------------------------------------------------------------------------

function reached(
  alphas: readonly number[],
  concepts: readonly Concept[],
  byConcept: readonly number[][][][],
  drawn: readonly number[][][][],
): Figure {
  const share = (margins: readonly (readonly number[])[], i: number) =>
    mean(margins.map((margin) => (margin[i] > 0 ? 1 : 0)));
  const own = concepts.flatMap((_, k) => byConcept[k][k]);
  const random = drawn.flatMap((byGoal) => concepts.flatMap((_, k) => byGoal[k]));
  const x = [...alphas];
  return {
    type: "lines",
    title: "Concepts that are reached, by push",
    caption: "The share of concepts and prompts of which a held-out word is the likeliest token.",
    x: { label: "α", unit: "residual norm", log: true },
    y: { label: "share" },
    series: [
      { name: "along the concept", x, y: x.map((_, i) => share(own, i)) },
      { name: "random directions", x, y: x.map((_, i) => share(random, i)), isNull: true },
    ],
  };
}

function wordsTable(
  goals: readonly Goal[],
  alphas: readonly number[],
  byWord: readonly number[][][][],
  chance: readonly number[],
): Figure {
  const shown = (alpha: number) => Number(alpha.toPrecision(3));
  return {
    type: "table",
    title: "Words along their own embedding",
    caption:
      "The smallest push that makes the word the likeliest token (geometric mean over prompts), all changes after the first prompt, " +
      `and the same of random directions. ${BEYOND} stands for more than ${alphas.at(-1)}. An untrained model of a tied table does this too.`,
    columns: ["word", "α", "changes", "α of random directions"],
    rows: goals.map(({ name }, g) => {
      const prompts = byWord[g][g];
      const least = Math.exp(mean(prompts.map((margins) => Math.log(smallest(alphas, margins)))));
      const changes = signChanges(alphas, prompts[0]).map(({ alpha, to }) => `${to} from ${shown(alpha)}`);
      return [name, shown(least), changes.join(", ") || "none", shown(chance[g])];
    }),
  };
}
