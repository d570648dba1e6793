import type { Explanation } from "../../analysis/explain.ts";
import { largest, matrix, pick, rowOf } from "../../math/matrix.ts";
import { bootstrap, mean, middle95 } from "../../math/statistics.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { rotations } from "../framework/null-draws.ts";
import { forwardPasses, type Sequence, textWindows, visible } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";

/** Number of strongest signals whose share of a logit is tested. */
const STRONGEST = 8;
/** Draws of nulls that no claim depends on. */
const FEW_DRAWS = 20;

const CLAIMS = {
  "flow.concentration": {
    kind: "bound",
    statement: "A logit rests on fewer signals (share of the strongest eight) than after a random rotation.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const flow = {
  id: "flow",
  question: "Which signals make this logit?",
  method:
    "A logit is an exact sum over signals, and each signal's value is a sum over what the embedding and every block " +
    "write. The terms add up to the logit. Null: the share of the strongest signals after a random rotation.",
  claims: CLAIMS,
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no signals"),
  run,
} as const satisfies Experiment;

/** A token of held-out text and its context. */
interface Prediction extends Sequence {
  /** The next token, whose logit is attributed. */
  target: number;
  /** z (S) */
  signals: Float32Array;
  logit: number;
  loss: number;
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, draws, quick, progress } = context;
  const S = model.recipe.columns;
  const length = Math.min(17, model.model.config.context);
  const predictions = await predictionsOf(context, { count: quick ? 24 : 96, length });
  if (predictions.length === 0) {
    const notes = [`The text has no document with ${length} consecutive tokens: nothing is claimed.`];
    return { parameters: { predictions: 0 }, claims: [], figures: [], notes };
  }
  await progress(0.1);
  const recipes = pick(
    model.recipe,
    predictions.map(({ target }) => target),
  );
  const termsBySignal = predictions.map(({ signals }, p) => termsOf(rowOf(recipes, p), signals));
  const shares = termsBySignal.map((terms) => shareOf(terms, STRONGEST));

  // R and z, to be rotated together: (2P,S)
  const both = matrix(2 * predictions.length, S);
  both.data.set(recipes.data);
  for (const [p, { signals }] of predictions.entries()) rowOf(both, predictions.length + p).set(signals);
  const topk = model.model.config.top_k !== undefined;
  const counts = countsUpTo(S);
  const values = new Float64Array(topk ? FEW_DRAWS : draws.cheap);
  const curves: number[][] = [];
  const nullShares = new Float64Array(predictions.length);
  let draw = 0;
  for await (const rotated of rotations(context, both, values.length, context.random("rotations"))) {
    const terms = predictions.map((_, p) =>
      termsOf(rowOf(rotated, p), rowOf(rotated, predictions.length + p)),
    );
    const drawn = terms.map((each) => shareOf(each, STRONGEST));
    for (const [p, share] of drawn.entries()) nullShares[p] += share / values.length;
    if (curves.length < FEW_DRAWS) curves.push(curveOf(terms, counts));
    values[draw++] = mean(drawn);
    await progress(0.1 + (0.6 * draw) / values.length);
  }

  const best = largest(
    predictions.map(({ loss }) => -loss),
    quick ? 24 : 64,
  );
  const attributions: Attribution[] = [];
  for (const [i, p] of best.entries()) {
    const { ids, target } = predictions[p];
    const explanation = await model.model.explain(Int32Array.from(ids), { target, top: STRONGEST });
    attributions.push({ ids, explanation, share: shares[p], nullShare: nullShares[p] });
    await progress(0.7 + (0.3 * (i + 1)) / best.length);
  }
  const errors = {
    bySignal: Math.max(
      ...predictions.map(({ logit }, p) => errorOf(termsBySignal[p], logit, termsBySignal[p])),
    ),
    byWriter: Math.max(...attributions.map(({ explanation }) => writersError(explanation))),
  };
  const name = "random rotations of the signals";
  const interval = bootstrap(shares, mean, context.random("interval"));
  return {
    parameters: {
      predictions: predictions.length,
      signals: S,
      strongest: STRONGEST,
      takenApart: attributions.length,
      errorBySignal: errors.bySignal,
      errorByWriter: errors.byWriter,
      draws: values.length,
    },
    claims: topk ? [] : [claim(CLAIMS, "flow.concentration", mean(shares), { name, values }, interval)],
    figures: [
      concentration(counts, curveOf(termsBySignal, counts), curves),
      writersFigure(context, attributions),
      ...oneLogit(context, attributions[0]),
      logitsTable(context, attributions),
      histogram(
        {
          title: `Share of the strongest ${STRONGEST} signals after rotations`,
          caption:
            "Mean over predictions: null from random rotations of the signals, which leave the model unchanged, and observed value.",
        },
        { label: "share of Σ|terms|" },
        values,
        mean(shares),
      ),
    ],
    notes: [
      `The terms, summed in float64, differ from the model's own logits by at most ${errors.bySignal.toExponential(1)} of Σ|terms| if summed by signal, and by ${errors.byWriter.toExponential(1)} if summed by writer${Math.max(errors.bySignal, errors.byWriter) <= EXACT ? "" : `, which exceeds float32 rounding (${EXACT}): the weights or the readout have lower precision`}.`,
      "Each token of held-out text counts once. The contributions of writers are invariant under rotation; those of single signals are not.",
      ...(topk
        ? [
            "A reflow-topk is not invariant under rotation: the terms are shown beside rotated ones, and nothing is claimed.",
          ]
        : []),
    ],
  };
}

/** Bound on rounding errors, as a fraction of Σ|terms|. */
const EXACT = 1e-5;

/** Next tokens of held-out windows, without duplicates. */
async function predictionsOf(
  context: ExperimentContext,
  { count, length }: { count: number; length: number },
): Promise<Prediction[]> {
  const read = textWindows(context, { count, length }, context.random("windows"));
  const items = read.map((ids): Sequence => ({ ids: ids.subarray(0, length - 1) }));
  if (items.length === 0 || length < 2) return [];
  const seen = new Set<number>();
  const found: Prediction[] = [];
  let window = 0;
  for await (const { item, logits, activation } of forwardPasses(context, items, {
    record: ["hook_signals"],
  })) {
    const ids = read[window++];
    for (let t = 0; t < item.ids.length; t++) {
      const target = ids[t + 1];
      if (seen.has(target)) continue;
      seen.add(target);
      const row = logits(t);
      const signals = activation("hook_signals", t).slice();
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

/** The terms R[v,s]·z_s in float64, (S). Their sum is the logit. */
export const termsOf = (recipe: Float32Array, signals: Float32Array): Float64Array =>
  Float64Array.from(recipe, (weight, s) => weight * signals[s]);

/** Share of Σ|terms| in the k largest |terms|; 1 if there are at most k terms, or if all are zero. */
export function shareOf(terms: ArrayLike<number>, k: number): number {
  const sizes = Float64Array.from(terms, Math.abs);
  const all = sumOf(sizes);
  return all === 0 ? 1 : sumOf(largest(sizes, k).map((s) => sizes[s])) / all;
}

/** Error of a sum of terms against a logit, in units of Σ|scale|. */
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

/** Powers of two below S, and S. */
const countsUpTo = (S: number): number[] => [
  ...Array.from({ length: Math.ceil(Math.log2(S)) }, (_, i) => 2 ** i),
  S,
];

/** Mean share of the strongest signals, by their number. */
function curveOf(termsByPrediction: readonly Float64Array[], counts: readonly number[]): number[] {
  const curve = counts.map(() => 0);
  for (const terms of termsByPrediction) {
    const sizes = terms.map(Math.abs).sort().reverse();
    const all = sumOf(sizes);
    for (const [i, k] of counts.entries()) {
      curve[i] += (all === 0 ? 1 : sumOf(sizes.subarray(0, k)) / all) / termsByPrediction.length;
    }
  }
  return curve;
}

// ---- figures ----------------------------------------------------------------------------------------------

/** A prediction and its attribution. */
interface Attribution extends Sequence {
  explanation: Explanation;
  /** Share of the strongest signals, and its mean after rotations. */
  share: number;
  nullShare: number;
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
    title: "Concentration of a logit on few signals",
    caption:
      "Share of Σ|R[v,s]·z_s| in the strongest signals of each prediction, mean over predictions; and the same with the signals " +
      "rotated at random, which leaves the model unchanged (central 95% of draws).",
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

function writersFigure({ random }: ExperimentContext, attributions: readonly Attribution[]): Figure {
  return {
    type: "bars",
    title: "Contributions to the logit by writer",
    caption: `Contributions of the embedding and of each block's attention and MLP to the logit of the next token: mean over the ${attributions.length} best-predicted tokens, with 95% intervals. The scale of the final norm is held fixed. These contributions are invariant under rotation.`,
    y: { label: "contribution", unit: "logits" },
    bars: attributions[0].explanation.writers.map(({ name }, w) => {
      const values = attributions.map(({ explanation }) => explanation.writers[w].contribution);
      const [low, high] = bootstrap(values, mean, random(`writer ${name}`));
      return { name, value: mean(values), low, high };
    }),
  };
}

/** The best-predicted token. */
function oneLogit({ model: { model } }: ExperimentContext, { ids, explanation }: Attribution): Figure[] {
  const { signals, writers, rest, target, logit } = explanation;
  const text = `${visible(model.tokenizer.decode(Array.from(ids).slice(-8)))} →${visible(target.text)}`;
  const restOf = (w: number) => writers[w].contribution - sumOf(signals.map(({ writers }) => writers[w]));
  // Codebooks may contain control characters and partial characters.
  const words = (entries: { text: string }[]) =>
    entries.map(({ text }) => text.trim().replace(/\p{C}|\uFFFD/gu, "·")).join(", ");
  return [
    {
      type: "heatmap",
      title: "One logit, by signal and by writer",
      caption: `“${text}”: the strongest signals and the sum of the other ${rest.count}, by writer. The cells add up to the logit, ${logit.toFixed(2)}.`,
      x: { label: "signal" },
      y: { label: "writer" },
      value: { label: "contribution", unit: "logits" },
      columns: [...signals.map(({ signal }) => String(signal)), "others"],
      rows: writers.map(({ name }) => name),
      values: writers.map((_, w) => [...signals.map(({ writers }) => writers[w]), restOf(w)]),
    },
    {
      type: "table",
      title: "Signals of that logit",
      caption:
        "R is the weight of the signal in the token's recipe and z its value at the readout; the words are its codebook.",
      columns: ["signal", "R", "z", "R·z", "largest weights", "smallest weights"],
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

function logitsTable({ model: { model } }: ExperimentContext, attributions: readonly Attribution[]): Figure {
  return {
    type: "table",
    title: "Logits and the signals that make them",
    caption: `The best-predicted tokens. The share is that of the strongest ${STRONGEST} signals, next to its mean after rotations.`,
    columns: ["after", "next", "logit", "probability", "strongest signals", "share", "rotated"],
    rows: attributions
      .slice(0, 16)
      .map(({ ids, explanation: { target, logit, logprob, signals }, share, nullShare }) => [
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
        nullShare,
      ]),
  };
}
