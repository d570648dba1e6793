import { accuracy, answer } from "../../analysis/analogies.ts";
import type { Matrix } from "../../math/matrix.ts";
import { cosines, keepLargest, nearest, pick } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { silhouettes } from "../../math/sparsity.ts";
import { mean } from "../../math/statistics.ts";
import type { Analogy } from "../../text/word-sets.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, ExperimentModel, Findings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { coordinateDraws, coordinateNull } from "../framework/null-draws.ts";
import { cosineDistances, labelledWords } from "./galaxy-clusters.ts";

/** Fractions of a recipe's entries that are kept. The original work kept 64 of 1024: a sixteenth. */
const KEPT = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32];
const CLAIMED = 1 / 16;
const NEAREST = 10;

const CLAIMS = {
  "hardtopk.cut": {
    kind: "bound",
    statement:
      "Keeping each recipe's strongest entries preserves more of its neighbours than after a random rotation.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const hardtopk = {
  id: "hardtopk",
  question: "What does hard sparsity cost?",
  method:
    "Only the k largest entries of each recipe are kept. What does that cost in loss, neighbours, analogies and " +
    "clusters? Null: the same cut after a random rotation of the signals.",
  reported:
    "that from 1024 to 64 entries, cosines fall from .76 to .30, analogies from 3 of 3 to none, and the silhouette " +
    "from .11 to −.02",
  claims: CLAIMS,
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no recipes"),
  run,
} as const satisfies Experiment;

/** Quality of a model after keeping k entries of each recipe. */
interface Cut {
  k: number;
  /** Cross-entropy, nats per token. */
  loss: number;
  /** Fraction of each token's nearest neighbours that the full recipes share. */
  neighbours: number;
  /** Absent if there are no words to measure it. */
  silhouette?: number;
  analogies?: number;
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, twin, topk, draws, quick, progress } = context;
  const { recipe } = model;
  const random = context.random("tokens");
  const tokens = sample(recipe.rows, quick ? 128 : 384, random);
  const all = context.words.analogies.flatMap(({ questions }) => questions);
  const task: Task = {
    tokens,
    questions: sample(all.length, quick ? 400 : 1500, context.random("questions")).map((i) => all[i]),
    text: context.text.subarray(0, quick ? 2048 : 16384),
  };
  const cuts = await cutsOf(context, model, task, 0);
  const twinCuts = twin && (await cutsOf(context, twin, task, 0.2));
  const trained = topk && (await measure(context, topk, recipe, topk.recipe, task));

  const k = entries(recipe, CLAIMED);
  const rows = pick(recipe, tokens);
  const before = await nearestOf(context, rows);
  const effect = kept(before, await nearestOf(context, keepLargest(rows, k)));
  // A rotation preserves neighbours; a model at initialisation has its own.
  const rotated = model.model.config.top_k === undefined;
  const values: number[] = [];
  for await (const drawn of coordinateDraws(context, rows, draws.cheap, context.random("coordinates"))) {
    const whole = rotated ? before : await nearestOf(context, drawn);
    values.push(kept(whole, await nearestOf(context, keepLargest(drawn, k))));
    await progress(0.4 + (0.6 * values.length) / draws.cheap);
  }
  const name = coordinateNull(context);
  const curves: CutCurve[] = [
    { name: "cut after training", cuts },
    ...(twinCuts ? [{ name: "the twin's embedding, cut", cuts: twinCuts }] : []),
    ...(trained && topk
      ? [
          {
            name: "trained with top-k",
            cuts: [{ k: topk.model.config.top_k ?? topk.recipe.columns, ...trained }],
          },
        ]
      : []),
  ];
  return {
    parameters: {
      tokens: tokens.length,
      questions: task.questions.length,
      predictions: Math.max(0, task.text.length - 1),
      k,
      draws: draws.cheap,
    },
    claims: [claim(CLAIMS, "hardtopk.cut", effect, { name, values })],
    figures: [
      ...MEASURED.map((measure) => over(measure, curves)),
      atLoss(curves),
      histogram(
        {
          title: `Neighbours preserved with ${k} entries`,
          caption: `Fraction of a token's ${NEAREST} nearest neighbours that are preserved: null from ${name}, and observed value.`,
        },
        { label: "fraction of neighbours" },
        values,
        effect,
      ),
    ],
    notes: [
      `Neighbours are computed among ${tokens.length} tokens chosen at random. Those of a trained top-k model are compared with those of this model's full recipes.`,
      ...(topk ? [] : ["Pass a trained reflow-topk with --topk to measure the cost of training with top-k."]),
    ],
  };
}

interface Task {
  tokens: readonly number[];
  questions: readonly Analogy[];
  text: Int32Array;
}

interface CutCurve {
  name: string;
  cuts: readonly Cut[];
}

const entries = ({ columns }: Matrix, fraction: number): number =>
  Math.max(1, Math.round(columns * fraction));

async function cutsOf(
  context: ExperimentContext,
  examined: ExperimentModel,
  task: Task,
  done: number,
): Promise<Cut[]> {
  const ks = new Set(KEPT.map((fraction) => entries(examined.recipe, fraction)));
  const cuts: Cut[] = [];
  for (const k of ks) {
    const cut = keepLargest(examined.recipe, k);
    cuts.push({ k, ...(await measure(context, examined, examined.recipe, cut, task)) });
    await context.progress(done + (0.2 * cuts.length) / ks.size);
  }
  return cuts;
}

/** @param whole the table whose neighbours are the reference */
async function measure(
  context: ExperimentContext,
  { model }: ExperimentModel,
  whole: Matrix,
  cut: Matrix,
  { tokens, questions, text }: Task,
): Promise<Omit<Cut, "k">> {
  const { words, labels } = labelledWords(context.words);
  const { loss } = await model.withTable(cut.data, () =>
    model.evaluate(text, { stride: model.config.context }),
  );
  const neighbours = kept(
    await nearestOf(context, pick(whole, tokens)),
    await nearestOf(context, pick(cut, tokens)),
  );
  const left: Omit<Cut, "k"> = { loss, neighbours };
  if (context.words.categories.length > 1) {
    const members = pick(
      cut,
      words.map(({ id }) => id),
    );
    left.silhouette = mean(silhouettes(await cosineDistances(context, members), labels));
  }
  if (questions.length > 0) {
    const { "3CosAdd": answers } = await answer(model, cut, questions, ["3CosAdd"]);
    left.analogies = accuracy(answers).top1;
  }
  return left;
}

/** The nearest neighbours of each row. */
async function nearestOf({ model }: ExperimentContext, rows: Matrix): Promise<number[][]> {
  return nearest(await cosines(model.model, rows, rows), Math.min(NEAREST, rows.rows - 1));
}

/** Fraction of each token's nearest neighbours that remain among its nearest. */
const kept = (before: readonly number[][], after: readonly number[][]): number =>
  mean(before.map((list, i) => list.filter((other) => after[i].includes(other)).length / list.length));

const MEASURES = {
  loss: ["Cross-entropy", "cross-entropy", "nats per token"],
  neighbours: ["Neighbours preserved", `fraction of ${NEAREST} nearest`, undefined],
  silhouette: ["Silhouette of categories", "silhouette (cosine)", undefined],
  analogies: ["Analogies answered", "accuracy", undefined],
} as const;

const MEASURED = ["loss", "neighbours", "silhouette", "analogies"] as const;

function over(measure: keyof typeof MEASURES, curves: readonly CutCurve[]): Figure {
  const [title, label, unit] = MEASURES[measure];
  const series = curves.map(({ name, cuts }) => seriesOf(name, cuts, "k", measure));
  return {
    type: "lines",
    title: `${title} by number of entries kept`,
    caption:
      "The k entries of largest magnitude of each recipe are kept, in both of its uses; the rightmost point keeps all.",
    x: { label: "k", log: true },
    y: { label, unit },
    series,
  };
}

/** The comparison at matched loss separates the effect of sparsity from that of a higher loss. */
function atLoss(curves: readonly CutCurve[]): Figure {
  return {
    type: "lines",
    title: "Silhouette at matched cross-entropy",
    caption:
      "Each point is a number of entries kept. Where two curves coincide at a loss, sparsity itself has no cost.",
    x: { label: "cross-entropy", unit: "nats per token" },
    y: { label: "silhouette (cosine)" },
    series: curves.map(({ name, cuts }) => seriesOf(name, cuts, "loss", "silhouette")),
  };
}

/** Uses only the cuts for which both values are known. */
function seriesOf(name: string, cuts: readonly Cut[], x: keyof Cut, y: keyof Cut): Series {
  const known = cuts.filter((cut) => cut[x] !== undefined && cut[y] !== undefined);
  return { name, x: known.map((cut) => cut[x]!), y: known.map((cut) => cut[y]!) };
}
