import { largest, matrix, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import { type Figure, histogram } from "../framework/figure.ts";
import { rotations } from "../framework/null-draws.ts";
import { claim } from "../framework/statistics.ts";
import { forwards, type Sequence, visible, windows } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";
import {
  type Effect,
  effectOf,
  type Fact,
  identity,
  meanRow,
  type Reference,
  type Row,
  replacer,
  throughForwards,
} from "./ablation-effects.ts";
import {
  CLAIMED,
  type Predictions,
  REPLACEMENTS,
  type Replacement,
  type Strongest,
  strongest,
} from "./replacement.ts";

/** Signals that are tried with forward passes too. */
const TRIED = 64;
/** Tokens that predictions tell apart, at the most. */
const MOST_TOKENS = 8192;
/** Draws for what no claim is made of. */
const FEW_DRAWS = 20;

/** Does one signal carry a fact? */
export const ablation: Probe = {
  id: "ablation",
  question: "Does one signal carry a fact?",
  inapplicable: ({ model }) => (model.basis ? undefined : "an unfactored model has no signals"),
  run,
};

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, draws, quick, progress } = context;
  const S = model.recipe.columns;
  const { facts, reference } = await factsOf(context, {
    count: quick ? 16 : 64,
    windows: quick ? 24 : 64,
    length: Math.min(17, model.model.config.context),
  });
  if (facts.length === 0) {
    const notes = ["The text has no 17 tokens that belong together: nothing is claimed."];
    return { parameters: { facts: 0 }, claims: [], figures: [], notes };
  }
  await progress(0.05);
  const predictions = predictionsOf(context, facts);
  const axes = identity(S);
  const byReplacement = new Map<Replacement, { found: Strongest[]; chance: Float64Array }>();
  for (const replacement of REPLACEMENTS) {
    const random = context.random(`output/${replacement}`);
    const rows = matrix(facts.length, S);
    const replacing = replacer(replacement, reference.signals, random);
    for (let p = 0; p < facts.length; p++) rowOf(rows, p).set(replacing());
    const search = await strongest(model, predictions, rows);
    const claimed = replacement === CLAIMED && !model.model.config.top_k;
    const chance = new Float64Array(claimed ? draws.cheap : FEW_DRAWS);
    let draw = 0;
    for await (const turned of rotations(context, axes, chance.length, random)) {
      chance[draw++] = mean((await search(turned)).map(({ loss }) => loss));
      if (claimed) await progress(0.05 + (0.45 * draw) / chance.length);
    }
    byReplacement.set(replacement, { found: await search(axes), chance });
  }

  const { found, chance } = byReplacement.get(CLAIMED)!;
  const tried = facts.slice(0, quick ? 5 : 16);
  const signals = signalsToTry(found, sizesOf(context, reference));
  const forwarded = await throughForwards(context, tried, reference, signals);
  const losses = found.map(({ loss }) => loss);
  const rows: Row[] = [
    ...Array.from(
      byReplacement,
      ([replacement, { found, chance }]): Row => ({
        place: "output",
        replacement,
        effects: found.map(({ before, after }, p) => effectOf(before, after, predictions.targets[p])),
        chance: mean(chance),
      }),
    ),
    ...forwarded,
  ];
  const topk = model.model.config.top_k !== undefined;
  const interval = bootstrap(losses, mean, context.random("interval"));
  const name = "as many random directions";
  return {
    parameters: {
      facts: facts.length,
      signals: S,
      triedSignals: signals.length,
      triedFacts: tried.length,
      draws: chance.length,
    },
    claims: topk ? [] : [claim("ablation.output", mean(losses), { name, values: chance }, interval)],
    figures: [
      overview(rows),
      table(rows),
      factsTable(context, facts, byReplacement.get("zero")!.found, predictions),
      histogram(
        {
          title: "The strongest of as many random directions",
          caption:
            "The mean over facts of the largest effect, of random directions that stand at right angles as signals do, and as " +
            "observed of the signals.",
        },
        { label: "ΔCE", unit: "nats" },
        chance,
        mean(losses),
      ),
    ],
    notes: [
      "A fact is a token of held-out text that the model predicts with high probability, each token once. For each the signal is " +
        "looked for without which it loses most; the figure is the mean over facts, and its null searches as many directions.",
      "Output: a signal is replaced where the recipes read it, and everything before it stays. Input: where tokens are looked up. " +
        "Both: as taking it out of R would. Where output alone does much and input little, it is the tied table that shows.",
      ...(topk
        ? [
            "No rotation leaves a reflow-topk as it is: single signals are shown beside random directions, and nothing is claimed.",
          ]
        : []),
    ],
  };
}

// ---- facts ------------------------------------------------------------------------------------------------

/** The tokens of held-out windows that the model predicts best, none twice, and what replacements are taken from. */
async function factsOf(
  context: ProbeContext,
  { count, windows: most, length }: { count: number; windows: number; length: number },
): Promise<{ facts: Fact[]; reference: Reference }> {
  const { recipe } = context.model;
  const read = windows(context, { count: most, length }, context.random("windows"));
  const all: Fact[] = [];
  const items = read.map((ids): Sequence => ({ ids: ids.subarray(0, length - 1) }));
  if (items.length === 0) return { facts: [], reference: { signals: matrix(0, 0), recipes: matrix(0, 0) } };
  let window = 0;
  for await (const { item, logits, kept } of forwards(context, items, { keep: ["hook_signals"] })) {
    const ids = read[window++];
    for (let t = 0; t < item.ids.length; t++) {
      const loss = crossEntropy(logits(t), ids[t + 1]);
      const signals = kept("hook_signals", t).slice();
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

function predictionsOf({ model: { recipe }, random }: ProbeContext, facts: readonly Fact[]): Predictions {
  const chosen = sample(recipe.rows, MOST_TOKENS, random("tokens"));
  const tokens = [...new Set([...chosen, ...facts.map(({ target }) => target)])];
  const signals = matrix(facts.length, recipe.columns);
  for (const [p, fact] of facts.entries()) rowOf(signals, p).set(fact.signals);
  const places = new Map(tokens.map((token, i) => [token, i]));
  return { signals, recipes: pick(recipe, tokens), targets: facts.map(({ target }) => places.get(target)!) };
}

/** The signals that facts rest on most, then those that move logits most, of as many as are tried. */
export function signalsToTry(found: readonly Strongest[], sizes: ArrayLike<number>): number[] {
  const order = [...found.map(({ direction }) => direction), ...largest(sizes, sizes.length)];
  return [...new Set(order)].slice(0, TRIED);
}

/** How far each signal usually moves logits: the deviation of z_s times the size of R[:,s]. */
function sizesOf({ model: { recipe } }: ProbeContext, { signals }: Reference): Float64Array {
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

function overview(rows: readonly Row[]): Figure {
  return {
    type: "bars",
    title: "What a fact loses without its strongest signal",
    caption:
      "Mean over facts of the largest ΔCE, by where the signal is replaced and by what. Marked: the strongest of as many random " +
      "directions.",
    y: { label: "ΔCE", unit: "nats" },
    bars: rows.map(({ place, replacement, effects, chance }) => ({
      name: `${place}, ${replacement}`,
      value: over(effects, "loss"),
      ...(chance !== undefined && { null: chance }),
    })),
  };
}

function table(rows: readonly Row[]): Figure {
  return {
    type: "table",
    title: "Signals replaced",
    caption: "Means over facts, of the signal without which each loses most.",
    columns: [
      "replaced",
      "by",
      "facts",
      "probability",
      "without the signal",
      "ΔCE",
      "KL",
      "ΔCE of random directions",
    ],
    rows: rows.map(({ place, replacement, effects, chance }) => [
      place,
      replacement,
      effects.length,
      over(effects, "before"),
      over(effects, "after"),
      over(effects, "loss"),
      over(effects, "kl"),
      chance ?? "",
    ]),
  };
}

function factsTable(
  { model: { model } }: ProbeContext,
  facts: readonly Fact[],
  found: readonly Strongest[],
  { targets }: Predictions,
): Figure {
  return {
    type: "table",
    title: "Facts and the signals they rest on",
    caption:
      "The probability of the token that comes next, with and without (output, zero) the signal that matters most.",
    columns: ["after", "next", "signal", "probability", "without the signal"],
    rows: facts.slice(0, 16).map(({ ids, target }, p) => {
      const { before, after } = effectOf(found[p].before, found[p].after, targets[p]);
      const text = model.tokenizer.decode(Array.from(ids).slice(-8));
      return [visible(text), visible(model.tokenizer.tokenText(target)), found[p].direction, before, after];
    }),
  };
}
