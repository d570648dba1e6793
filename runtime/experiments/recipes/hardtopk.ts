import { accuracy, answer } from "../../analysis/analogies.ts";
import type { Matrix } from "../../math/matrix.ts";
import { cosines, keepLargest, nearest, pick } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { silhouettes } from "../../math/sparsity.ts";
import { mean } from "../../math/statistics.ts";
import type { Analogy } from "../../text/word-sets.ts";
import type { Probe, ProbeContext, ProbedModel, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram, type Series } from "../framework/figure.ts";
import { coordinateDraws, coordinateNull } from "../framework/null-draws.ts";
import { claim } from "../framework/statistics.ts";
import { cosineDistances, labelled } from "./galaxy-clusters.ts";

/** Shares of a recipe's entries that are kept. The source kept 64 of 1024: a sixteenth. */
const KEPT = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32];
const CLAIMED = 1 / 16;
const NEAREST = 10;

/** What does hard sparsity cost? */
export const hardtopk: Probe = {
  id: "hardtopk",
  question: "What does hard sparsity cost?",
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no recipes"),
  run,
};

/** What is left of a model where k entries of each recipe are. */
interface Cut {
  k: number;
  /** nats a token */
  loss: number;
  /** Of each token's nearest, the share that the whole recipes have too. */
  neighbours: number;
  /** Absent where there are no words for it. */
  silhouette?: number;
  analogies?: number;
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
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
  // A rotation leaves neighbours as they are; a model at initialisation has its own.
  const rotated = model.model.config.top_k === undefined;
  const values: number[] = [];
  for await (const drawn of coordinateDraws(context, rows, draws.cheap, context.random("coordinates"))) {
    const whole = rotated ? before : await nearestOf(context, drawn);
    values.push(kept(whole, await nearestOf(context, keepLargest(drawn, k))));
    await progress(0.4 + (0.6 * values.length) / draws.cheap);
  }
  const name = coordinateNull(context);
  const arms: Arm[] = [
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
    claims: [claim("hardtopk.cut", effect, { name, values })],
    figures: [
      ...MEASURED.map((measure) => over(measure, arms)),
      atLoss(arms),
      histogram(
        {
          title: `Neighbours kept with ${k} entries`,
          caption: `The share of a token's ${NEAREST} nearest that stay its nearest: ${name}, and as observed.`,
        },
        { label: "share of neighbours" },
        values,
        effect,
      ),
    ],
    notes: [
      `Tokens are ${tokens.length}, chosen at random; their nearest are among them. A trained top-k's are held against those of the model's whole recipes.`,
      ...(topk ? [] : ["Give a trained reflow-topk with --topk to see what training with top-k costs."]),
    ],
  };
}

interface Task {
  tokens: readonly number[];
  questions: readonly Analogy[];
  text: Int32Array;
}

interface Arm {
  name: string;
  cuts: readonly Cut[];
}

const entries = ({ columns }: Matrix, share: number): number => Math.max(1, Math.round(columns * share));

async function cutsOf(context: ProbeContext, subject: ProbedModel, task: Task, done: number): Promise<Cut[]> {
  const ks = new Set(KEPT.map((share) => entries(subject.recipe, share)));
  const cuts: Cut[] = [];
  for (const k of ks) {
    const cut = keepLargest(subject.recipe, k);
    cuts.push({ k, ...(await measure(context, subject, subject.recipe, cut, task)) });
    await context.progress(done + (0.2 * cuts.length) / ks.size);
  }
  return cuts;
}

/** @param whole what neighbours are compared with */
async function measure(
  context: ProbeContext,
  { model }: ProbedModel,
  whole: Matrix,
  cut: Matrix,
  { tokens, questions, text }: Task,
): Promise<Omit<Cut, "k">> {
  const { words, labels } = labelled(context.words);
  const { loss } = await model.withTable(cut.data, () =>
    model.evaluate(text, { stride: model.config.context }),
  );
  const neighbours = kept(
    await nearestOf(context, pick(whole, tokens)),
    await nearestOf(context, pick(cut, tokens)),
  );
  const left: Omit<Cut, "k"> = { loss, neighbours };
  if (context.words.categories.length > 1) {
    const stars = pick(
      cut,
      words.map(({ id }) => id),
    );
    left.silhouette = mean(silhouettes(await cosineDistances(context, stars), labels));
  }
  if (questions.length > 0) {
    const { "3CosAdd": answers } = await answer(model, cut, questions, ["3CosAdd"]);
    left.analogies = accuracy(answers).top1;
  }
  return left;
}

/** Each row's nearest others. */
async function nearestOf({ model }: ProbeContext, rows: Matrix): Promise<number[][]> {
  return nearest(await cosines(model.model, rows, rows), Math.min(NEAREST, rows.rows - 1));
}

/** Of each token's nearest, the share that are still among its nearest. */
const kept = (before: readonly number[][], after: readonly number[][]): number =>
  mean(before.map((list, i) => list.filter((other) => after[i].includes(other)).length / list.length));

const MEASURES = {
  loss: ["Cross-entropy", "cross-entropy", "nats a token"],
  neighbours: ["Neighbours kept", `share of ${NEAREST} nearest`, undefined],
  silhouette: ["Silhouette of categories", "silhouette (cosine)", undefined],
  analogies: ["Analogies answered", "share right", undefined],
} as const;

const MEASURED = ["loss", "neighbours", "silhouette", "analogies"] as const;

function over(measure: keyof typeof MEASURES, arms: readonly Arm[]): Figure {
  const [title, label, unit] = MEASURES[measure];
  const series = arms.map(({ name, cuts }) => seriesOf(name, cuts, "k", measure));
  return {
    type: "lines",
    title: `${title}, by entries kept`,
    caption:
      "Of each recipe the k entries of largest size are kept, in both of its uses; the rightmost are all.",
    x: { label: "k", log: true },
    y: { label, unit },
    series,
  };
}

/** The same at matched loss: what a cut leaves may be lost with the loss, and not with the entries. */
function atLoss(arms: readonly Arm[]): Figure {
  return {
    type: "lines",
    title: "Silhouette at matched cross-entropy",
    caption:
      "Each point is a number of entries kept. Where two curves meet at a loss, sparsity alone costs nothing.",
    x: { label: "cross-entropy", unit: "nats a token" },
    y: { label: "silhouette (cosine)" },
    series: arms.map(({ name, cuts }) => seriesOf(name, cuts, "loss", "silhouette")),
  };
}

/** Of the cuts of which both are known. */
function seriesOf(name: string, cuts: readonly Cut[], x: keyof Cut, y: keyof Cut): Series {
  const known = cuts.filter((cut) => cut[x] !== undefined && cut[y] !== undefined);
  return { name, x: known.map((cut) => cut[x]!), y: known.map((cut) => cut[y]!) };
}
