import type { Explanation } from "../../analysis/explain.ts";
import { largest, matrix, pick, rowOf } from "../../math/matrix.ts";
import { bootstrap, mean, middle95 } from "../../math/statistics.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { rotations } from "../framework/null-draws.ts";
import { claim } from "../framework/statistics.ts";
import { forwards, type Sequence, visible, windows } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";

/** Signals whose share of a logit is claimed something of. */
const STRONGEST = 8;
/** Draws for what no claim is made of. */
const FEW_DRAWS = 20;

/** Which signals make this logit? */
export const flow: Probe = {
  id: "flow",
  question: "Which signals make this logit?",
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no signals"),
  run,
};

/** A token of held-out text, after what comes before it. */
interface Prediction extends Sequence {
  /** What comes next: whose logit is taken apart. */
  target: number;
  /** z (S) */
  signals: Float32Array;
  logit: number;
  loss: number;
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, draws, quick, progress } = context;
  const S = model.recipe.columns;
  const length = Math.min(17, model.model.config.context);
  const predictions = await predictionsOf(context, { count: quick ? 24 : 96, length });
  if (predictions.length === 0) {
    const notes = [`The text has no ${length} tokens that belong together: nothing is claimed.`];
    return { parameters: { predictions: 0 }, claims: [], figures: [], notes };
  }
  await progress(0.1);
  const recipes = pick(
    model.recipe,
    predictions.map(({ target }) => target),
  );
  const ledger = predictions.map(({ signals }, p) => termsOf(rowOf(recipes, p), signals));
  const shares = ledger.map((terms) => shareOf(terms, STRONGEST));

  // R and z turned together: (2P,S)
  const both = matrix(2 * predictions.length, S);
  both.data.set(recipes.data);
  for (const [p, { signals }] of predictions.entries()) rowOf(both, predictions.length + p).set(signals);
  const topk = model.model.config.top_k !== undefined;
  const counts = countsUpTo(S);
  const values = new Float64Array(topk ? FEW_DRAWS : draws.cheap);
  const curves: number[][] = [];
  const chances = new Float64Array(predictions.length);
  let draw = 0;
  for await (const turned of rotations(context, both, values.length, context.random("rotations"))) {
    const terms = predictions.map((_, p) => termsOf(rowOf(turned, p), rowOf(turned, predictions.length + p)));
    const drawn = terms.map((each) => shareOf(each, STRONGEST));
    for (const [p, share] of drawn.entries()) chances[p] += share / values.length;
    if (curves.length < FEW_DRAWS) curves.push(curveOf(terms, counts));
    values[draw++] = mean(drawn);
    await progress(0.1 + (0.6 * draw) / values.length);
  }

  const best = largest(
    predictions.map(({ loss }) => -loss),
    quick ? 24 : 64,
  );
  const told: Told[] = [];
  for (const [i, p] of best.entries()) {
    const { ids, target } = predictions[p];
    const explanation = await model.model.explain(Int32Array.from(ids), { target, top: STRONGEST });
    told.push({ ids, explanation, share: shares[p], chance: chances[p] });
    await progress(0.7 + (0.3 * (i + 1)) / best.length);
  }
  const errors = {
    bySignal: Math.max(...predictions.map(({ logit }, p) => errorOf(ledger[p], logit, ledger[p]))),
    byWriter: Math.max(...told.map(({ explanation }) => writersError(explanation))),
  };
  const name = "random rotations of the signals";
  const interval = bootstrap(shares, mean, context.random("interval"));
  return {
    parameters: {
      predictions: predictions.length,
      signals: S,
      strongest: STRONGEST,
      takenApart: told.length,
      errorBySignal: errors.bySignal,
      errorByWriter: errors.byWriter,
      draws: values.length,
    },
    claims: topk ? [] : [claim("flow.concentration", mean(shares), { name, values }, interval)],
    figures: [
      concentration(counts, curveOf(ledger, counts), curves),
      writersFigure(context, told),
      ...oneLogit(context, told[0]),
      logitsTable(context, told),
      histogram(
        {
          title: `The share of the strongest ${STRONGEST} after rotations`,
          caption:
            "The mean over predictions, of the signals rotated at random, and as observed. The model is the same in all of them.",
        },
        { label: "share of Σ|terms|" },
        values,
        mean(shares),
      ),
    ],
    notes: [
      `Sums of the ledger in float64 differ from the model's own logits by ${errors.bySignal.toExponential(1)} of Σ|terms| at the most where they go by signal, and by ${errors.byWriter.toExponential(1)} where they go by writer${Math.max(errors.bySignal, errors.byWriter) <= EXACT ? "" : `, which is more than rounding comes to (${EXACT}): the weights or the readout are rounded`}.`,
      "Each token of held-out text counts once. What writers add up to is the same after any rotation; what single signals have of it isn't.",
      ...(topk
        ? [
            "No rotation leaves a reflow-topk as it is: the ledger is shown beside rotated ones, and nothing is claimed.",
          ]
        : []),
    ],
  };
}

/** Of Σ|terms|: what rounding comes to. */
const EXACT = 1e-5;

/** Next tokens of held-out windows, none twice. */
async function predictionsOf(
  context: ProbeContext,
  { count, length }: { count: number; length: number },
): Promise<Prediction[]> {
  const read = windows(context, { count, length }, context.random("windows"));
  const items = read.map((ids): Sequence => ({ ids: ids.subarray(0, length - 1) }));
  if (items.length === 0 || length < 2) return [];
  const seen = new Set<number>();
  const found: Prediction[] = [];
  let window = 0;
  for await (const { item, logits, kept } of forwards(context, items, { keep: ["hook_signals"] })) {
    const ids = read[window++];
    for (let t = 0; t < item.ids.length; t++) {
      const target = ids[t + 1];
      if (seen.has(target)) continue;
      seen.add(target);
      const row = logits(t);
      const signals = kept("hook_signals", t).slice();
      found.push({
        ids: ids.subarray(0, t + 1),
        target,
        signals,
        logit: row[target],
        loss: crossEntropy(row, target),
      });
    }
  }
  return found;
}

// ---- measuring --------------------------------------------------------------------------------------------

/** R[v,s]·z_s (S) in float64, which add up to the logit. */
export const termsOf = (recipe: Float32Array, signals: Float32Array): Float64Array =>
  Float64Array.from(recipe, (weight, s) => weight * signals[s]);

/** The share of Σ|terms| that the k largest have, up or down; all of it where there are no more, and where all are zero. */
export function shareOf(terms: ArrayLike<number>, k: number): number {
  const sizes = Float64Array.from(terms, Math.abs);
  const all = sumOf(sizes);
  return all === 0 ? 1 : sumOf(largest(sizes, k).map((s) => sizes[s])) / all;
}

/** How far a sum of terms is from a logit, in units of Σ|terms|. */
export function errorOf(terms: ArrayLike<number>, logit: number, scale: ArrayLike<number>): number {
  return Math.abs(sumOf(terms) - logit) / sumOf(Float64Array.from(scale, Math.abs));
}

const writersError = ({ writers, logit, magnitude }: Explanation): number =>
  errorOf(
    writers.map(({ contribution }) => contribution),
    logit,
    [magnitude],
  );

function sumOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

/** 1, 2, 4 and so on, and S. */
const countsUpTo = (S: number): number[] => [
  ...Array.from({ length: Math.ceil(Math.log2(S)) }, (_, i) => 2 ** i),
  S,
];

/** Mean shares of the strongest signals, by their count. */
function curveOf(ledgers: readonly Float64Array[], counts: readonly number[]): number[] {
  const curve = counts.map(() => 0);
  for (const terms of ledgers) {
    const sizes = terms.map(Math.abs).sort().reverse();
    const all = sumOf(sizes);
    for (const [i, k] of counts.entries()) {
      curve[i] += (all === 0 ? 1 : sumOf(sizes.subarray(0, k)) / all) / ledgers.length;
    }
  }
  return curve;
}

// ---- figures ----------------------------------------------------------------------------------------------

/** A prediction, taken apart. */
interface Told extends Sequence {
  explanation: Explanation;
  /** Of the strongest signals; and the same after rotations. */
  share: number;
  chance: number;
}

function concentration(
  counts: readonly number[],
  observed: readonly number[],
  curves: readonly number[][],
): Figure {
  const drawn = counts.map((_, i) => curves.map((curve) => curve[i]));
  const ranges = drawn.map(middle95);
  return {
    type: "lines",
    title: "How few signals a logit rests on",
    caption:
      "The share of Σ|R[v,s]·z_s| that the strongest signals of each prediction have, mean over predictions; and with the signals " +
      "rotated at random, which leaves the model as it is (the middle 95% of draws).",
    x: { label: "strongest signals", log: true },
    y: { label: "share of Σ|terms|" },
    series: [
      { name: "this model's signals", x: counts, y: observed },
      {
        name: "rotated signals",
        x: counts,
        y: drawn.map(mean),
        low: ranges.map(([low]) => low),
        high: ranges.map(([, high]) => high),
        isNull: true,
      },
    ],
  };
}

function writersFigure({ random }: ProbeContext, told: readonly Told[]): Figure {
  return {
    type: "bars",
    title: "Who writes the logit",
    caption: `What the embedding, and each block's attention and MLP, contribute to the logit of the token that comes next: the mean over the ${told.length} that are predicted best, with 95% intervals. The final norm's scale is held as it is; no rotation changes this.`,
    y: { label: "contribution", unit: "logits" },
    bars: told[0].explanation.writers.map(({ name }, w) => {
      const values = told.map(({ explanation }) => explanation.writers[w].contribution);
      const [low, high] = bootstrap(values, mean, random(`writer ${name}`));
      return { name, value: mean(values), low, high };
    }),
  };
}

/** The one that is predicted best. */
function oneLogit({ model: { model } }: ProbeContext, { ids, explanation }: Told): Figure[] {
  const { signals, writers, rest, target, logit } = explanation;
  const text = `${visible(model.tokenizer.decode(Array.from(ids).slice(-8)))} →${visible(target.text)}`;
  const restOf = (w: number) => writers[w].contribution - sumOf(signals.map(({ writers }) => writers[w]));
  // Codebooks have control characters and pieces of characters, too.
  const words = (entries: { text: string }[]) =>
    entries.map(({ text }) => text.trim().replace(/\p{C}|\uFFFD/gu, "·")).join(", ");
  return [
    {
      type: "heatmap",
      title: "One logit, by signal and by writer",
      caption: `“${text}”: the strongest signals, what the other ${rest.count} come to, and who wrote each. All cells add up to the logit, ${logit.toFixed(2)}.`,
      x: { label: "signal" },
      y: { label: "writer" },
      value: { label: "contribution", unit: "logits" },
      columns: [...signals.map(({ signal }) => String(signal)), "others"],
      rows: writers.map(({ name }) => name),
      values: writers.map((_, w) => [...signals.map(({ writers }) => writers[w]), restOf(w)]),
    },
    {
      type: "table",
      title: "The signals of that logit",
      caption:
        "R is what the token has of the signal, z what the readout sees of it; the words are its codebook.",
      columns: ["signal", "R", "z", "R·z", "most of it", "least of it"],
      rows: signals.map(({ signal, recipe, value, contribution, codebook }) => [
        signal,
        recipe,
        value,
        contribution,
        words(codebook.most),
        words(codebook.least),
      ]),
    },
  ];
}

function logitsTable({ model: { model } }: ProbeContext, told: readonly Told[]): Figure {
  return {
    type: "table",
    title: "Logits and the signals that make them",
    caption: `What is predicted best. The share is that of the strongest ${STRONGEST} signals; beside it the same after rotations, the mean.`,
    columns: ["after", "next", "logit", "probability", "strongest signals", "share", "rotated"],
    rows: told
      .slice(0, 16)
      .map(({ ids, explanation: { target, logit, logprob, signals }, share, chance }) => [
        visible(model.tokenizer.decode(Array.from(ids).slice(-8))),
        visible(target.text),
        logit,
        Math.exp(logprob),
        signals
          .slice(0, 3)
          .map(
            ({ signal, contribution }) =>
              `${signal} (${contribution < 0 ? "−" : "+"}${Math.abs(contribution).toFixed(2)})`,
          )
          .join(", "),
        share,
        chance,
      ]),
  };
}
