import { largest, matrix, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import { type ClaimSpecs, claim } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { rotations } from "../framework/null-draws.ts";
import { forwardPasses, type Sequence, textWindows, visible } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";
import {
  ablateByForwardPasses,
  type Effect,
  effectOf,
  type Fact,
  identity,
  meanRow,
  type Reference,
  type ReplacementResult,
  replacer,
} from "./ablation-effects.ts";
import {
  CLAIMED,
  type Predictions,
  REPLACEMENTS,
  type Replacement,
  type Strongest,
  strongest,
} from "./replacement.ts";

/** Number of signals that are also tried with forward passes. */
const TRIED = 64;
/** Maximum number of candidate tokens per prediction. */
const MOST_TOKENS = 8192;
/** Draws of nulls that no claim depends on. */
const FEW_DRAWS = 20;

const CLAIMS = {
  "ablation.output": {
    kind: "bound",
    statement:
      "The strongest single signal carries more of a fact than the best of an equal number of random directions.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const ablation = {
  id: "ablation",
  question: "Does one signal carry a fact?",
  method:
    "One signal is removed, in the readout, in the embedding lookup, or in both, and the loss is measured. Among " +
    "hundreds of signals some effect is always the largest. Null: the largest effect of an equal number of random " +
    "directions.",
  reported: "a single signal whose removal takes a fact from 8.31% to 0.03%",
  claims: CLAIMS,
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no signals"),
  run,
} as const satisfies Experiment;

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, draws, quick, progress } = context;
  const S = model.recipe.columns;
  const { facts, reference } = await factsOf(context, {
    count: quick ? 16 : 64,
    windows: quick ? 24 : 64,
    length: Math.min(17, model.model.config.context),
  });
  if (facts.length === 0) {
    const notes = ["The text has no document with 17 consecutive tokens: nothing is claimed."];
    return { parameters: { facts: 0 }, claims: [], figures: [], notes };
  }
  await progress(0.05);
  const predictions = predictionsOf(context, facts);
  const axes = identity(S);
  const byReplacement = new Map<Replacement, { found: Strongest[]; nullValues: Float64Array }>();
  for (const replacement of REPLACEMENTS) {
    const random = context.random(`output/${replacement}`);
    const rows = matrix(facts.length, S);
    const replacing = replacer(replacement, reference.signals, random);
    for (let p = 0; p < facts.length; p++) rowOf(rows, p).set(replacing());
    const search = await strongest(model, predictions, rows);
    const claimed = replacement === CLAIMED && !model.model.config.top_k;
    const nullValues = new Float64Array(claimed ? draws.cheap : FEW_DRAWS);
    let draw = 0;
    for await (const rotated of rotations(context, axes, nullValues.length, random)) {
      nullValues[draw++] = mean((await search(rotated)).map(({ loss }) => loss));
      if (claimed) await progress(0.05 + (0.45 * draw) / nullValues.length);
    }
    byReplacement.set(replacement, { found: await search(axes), nullValues });
  }

  const { found, nullValues } = byReplacement.get(CLAIMED)!;
  const triedFacts = facts.slice(0, quick ? 5 : 16);
  const signals = signalsToTry(found, sizesOf(context, reference));
  const forwarded = await ablateByForwardPasses(context, triedFacts, reference, signals);
  const losses = found.map(({ loss }) => loss);
  const rows: ReplacementResult[] = [
    ...Array.from(
      byReplacement,
      ([replacement, { found, nullValues }]): ReplacementResult => ({
        site: "output",
        replacement,
        effects: found.map(({ before, after }, p) => effectOf(before, after, predictions.targets[p])),
        nullLoss: mean(nullValues),
      }),
    ),
    ...forwarded,
  ];
  const topk = model.model.config.top_k !== undefined;
  const interval = bootstrap(losses, mean, context.random("interval"));
  const name = "an equal number of random directions";
  return {
    parameters: {
      facts: facts.length,
      signals: S,
      triedSignals: signals.length,
      triedFacts: triedFacts.length,
      draws: nullValues.length,
    },
    claims: topk
      ? []
      : [claim(CLAIMS, "ablation.output", mean(losses), { name, values: nullValues }, interval)],
    figures: [
      overview(rows),
      table(rows),
      factsTable(context, facts, byReplacement.get("zero")!.found, predictions),
      histogram(
        {
          title: "The strongest of an equal number of random directions",
          caption:
            "Mean over facts of the largest effect: null from random directions, orthogonal to each other as signals are, and observed " +
            "value for the signals.",
        },
        { label: "ΔCE", unit: "nats" },
        nullValues,
        mean(losses),
      ),
    ],
    notes: [
      "A fact is a token of held-out text that the model predicts with high probability; each token counts once. For each fact the " +
        "signal whose replacement costs most is sought; the effect is the mean over facts, and its null searches an equal number of directions.",
      "Output: a signal is replaced where the recipes read it, and everything before is unchanged. Input: it is replaced in the embedding lookup. " +
        "Both: as if it were removed from R. A large effect at the output with a small one at the input is due to the tied table.",
      ...(topk
        ? [
            "A reflow-topk is not invariant under rotation: single signals are shown beside random directions, and nothing is claimed.",
          ]
        : []),
    ],
  };
}

// ---- facts ------------------------------------------------------------------------------------------------

/** The best-predicted tokens of held-out windows, without duplicates, and the reference for replacements. */
async function factsOf(
  context: ExperimentContext,
  { count, windows: most, length }: { count: number; windows: number; length: number },
): Promise<{ facts: Fact[]; reference: Reference }> {
  const { recipe } = context.model;
  const read = textWindows(context, { count: most, length }, context.random("windows"));
  const all: Fact[] = [];
  const items = read.map((ids): Sequence => ({ ids: ids.subarray(0, length - 1) }));
  if (items.length === 0) return { facts: [], reference: { signals: matrix(0, 0), recipes: matrix(0, 0) } };
  let window = 0;
  for await (const { item, logits, activation } of forwardPasses(context, items, {
    record: ["hook_signals"],
  })) {
    const ids = read[window++];
    for (let t = 0; t < item.ids.length; t++) {
      const loss = crossEntropy(logits(t), ids[t + 1]);
      const signals = activation("hook_signals", t).slice();
      all.push({ ids: ids.subarray(0, t + 1), target: ids[t + 1], signals, loss });
    }
  }
  const signals = matrix(all.length, recipe.columns);
  for (const [i, fact] of all.entries()) rowOf(signals, i).set(fact.signals);
  const recipes = pick(
    recipe,
    all.map(({ ids }) => ids[ids.length - 1]),
  );
  const seen = new Set<number>();
  const facts = [...all]
    .sort((a, b) => a.loss - b.loss)
    .filter(({ target }) => !seen.has(target) && seen.add(target))
    .slice(0, count);
  return { facts, reference: { signals, recipes } };
}

function predictionsOf(
  { model: { recipe }, random }: ExperimentContext,
  facts: readonly Fact[],
): Predictions {
  const chosen = sample(recipe.rows, MOST_TOKENS, random("tokens"));
  const tokens = [...new Set([...chosen, ...facts.map(({ target }) => target)])];
  const signals = matrix(facts.length, recipe.columns);
  for (const [p, fact] of facts.entries()) rowOf(signals, p).set(fact.signals);
  const places = new Map(tokens.map((token, i) => [token, i]));
  return { signals, recipes: pick(recipe, tokens), targets: facts.map(({ target }) => places.get(target)!) };
}

/** Signals to try with forward passes: first those that facts depend on most, then those that move logits most. */
export function signalsToTry(found: readonly Strongest[], sizes: ArrayLike<number>): number[] {
  const order = [...found.map(({ direction }) => direction), ...largest(sizes, sizes.length)];
  return [...new Set(order)].slice(0, TRIED);
}

/** Typical effect of each signal on logits: the variance of z_s times ‖R[:,s]‖², up to a constant factor. */
function sizesOf({ model: { recipe } }: ExperimentContext, { signals }: Reference): Float64Array {
  return Float64Array.from(meanRow(signals), (center, s) => {
    let [deviation, size] = [0, 0];
    for (let i = 0; i < signals.rows; i++) deviation += (signals.data[i * signals.columns + s] - center) ** 2;
    for (let v = 0; v < recipe.rows; v++) size += recipe.data[v * recipe.columns + s] ** 2;
    return deviation * size;
  });
}

// ---- figures ----------------------------------------------------------------------------------------------

const over = (effects: readonly Effect[], figure: keyof Effect): number =>
  mean(effects.map((effect) => effect[figure]));

function overview(rows: readonly ReplacementResult[]): Figure {
  return {
    type: "bars",
    title: "Loss of a fact without its strongest signal",
    caption:
      "Mean over facts of the largest ΔCE, by site and kind of replacement. Marked: the strongest of an equal number of random " +
      "directions.",
    y: { label: "ΔCE", unit: "nats" },
    bars: rows.map(({ site, replacement, effects, nullLoss }) => ({
      name: `${site}, ${replacement}`,
      value: over(effects, "loss"),
      ...(nullLoss !== undefined && { null: nullLoss }),
    })),
  };
}

function table(rows: readonly ReplacementResult[]): Figure {
  return {
    type: "table",
    title: "Signals replaced",
    caption: "Means over facts, for the signal whose replacement costs each fact most.",
    columns: [
      "site",
      "replacement",
      "facts",
      "probability",
      "without the signal",
      "ΔCE",
      "KL",
      "ΔCE of random directions",
    ],
    rows: rows.map(({ site, replacement, effects, nullLoss }) => [
      site,
      replacement,
      effects.length,
      over(effects, "before"),
      over(effects, "after"),
      over(effects, "loss"),
      over(effects, "kl"),
      nullLoss ?? "",
    ]),
  };
}

function factsTable(
  { model: { model } }: ExperimentContext,
  facts: readonly Fact[],
  found: readonly Strongest[],
  { targets }: Predictions,
): Figure {
  return {
    type: "table",
    title: "Facts and the signals they depend on",
    caption:
      "Probability of the next token with and without its most important signal (replaced by zero at the output).",
    columns: ["after", "next", "signal", "probability", "without the signal"],
    rows: facts.slice(0, 16).map(({ ids, target }, p) => {
      const { before, after } = effectOf(found[p].before, found[p].after, targets[p]);
      const text = model.tokenizer.decode(Array.from(ids).slice(-8));
      return [visible(text), visible(model.tokenizer.tokenText(target)), found[p].direction, before, after];
    }),
  };
}
