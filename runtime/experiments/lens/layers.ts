import { groupBy } from "../../common/compatibility.ts";
import { klDivergence } from "../../math/logits.ts";
import { matrix, rowOf } from "../../math/matrix.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import type { ClaimSpecs } from "../framework/claims.ts";
import type { Experiment, ExperimentContext, Findings } from "../framework/experiment.ts";
import type { Figure, Lines } from "../framework/figure.ts";
import { fall, fallClaim, meanOfBothOrders, relativeDepths } from "../passes/depth-trend.ts";
import {
  forwardPasses,
  logitLens,
  residualHooks,
  type Sequence,
  textWindows,
  visible,
} from "../passes/forward-passes.ts";
import { entropy, likeliest, rankOf } from "../passes/predictions.ts";
import { SENTENCE } from "../passes/prompts.ts";

const CLAIMS = {
  "layers.depth": {
    kind: "free",
    statement:
      "The logit lens approaches the final answer from layer to layer more than over shuffled layers.",
    side: "greater",
  },
} as const satisfies ClaimSpecs;

export const layers = {
  id: "layers",
  question: "Where is the answer decided?",
  method:
    "The final readout is applied to the residual stream after each layer (the logit lens). How far is its prediction " +
    "from the final answer, and how certain is it? Null: the same layers in shuffled order.",
  claims: CLAIMS,
  run,
} as const satisfies Experiment;

/** The logit lens at one position, by depth: before the first block, and after each block. */
interface Position {
  window: number;
  /** Position in its window, from 0. */
  at: number;
  /** The next token. */
  next: number;
  /** KL from the final distribution to the distribution of the lens, nats. */
  kl: number[];
  /** 1 if the likeliest token is the final one, else 0. */
  agrees: number[];
  entropy: number[];
  /** log₂ of the rank of the next token. */
  rank: number[];
  /** The likeliest token. */
  top: number[];
}

async function run(context: ExperimentContext): Promise<Findings> {
  const { model, draws, quick, progress } = context;
  const { config } = model.model;
  const length = Math.min(quick ? 33 : 65, config.context);
  const read = textWindows(context, { count: quick ? 10 : 40, length }, context.random("windows"));
  const parameters = { windows: read.length, length, layers: config.n_layers };
  const sentence = model.model.tokenize(SENTENCE).subarray(0, config.context);
  const shown = await readPositions(context, [sentence], [0, 0.1]);
  const positions = read.length > 0 ? await readPositions(context, read, [0.1, 0.95]) : [];
  if (positions.length === 0) {
    const note = `The text has no document with ${length} consecutive tokens: nothing is claimed.`;
    return { parameters, claims: [], figures: oneSentence(context, shown), notes: [note] };
  }

  // Each next token counts once: frequent tokens would otherwise dominate.
  const seen = new Set<number>();
  const once = positions.filter(({ next }) => !seen.has(next) && seen.add(next));
  const falls = once.map(({ rank }) => fall(rank));
  const { claim, spread } = fallClaim(context, CLAIMS, "layers.depth", falls, {
    title: "Halvings of the rank with shuffled layers",
    x: { label: "halvings of the next token's rank from first to last depth" },
  });
  await progress(1);
  return {
    parameters: { ...parameters, positions: positions.length, nextTokens: once.length, draws: draws.cheap },
    claims: [claim],
    figures: [
      byDepth(context, positions, {
        title: "How far the lens is from the final answer",
        caption:
          "KL from the model's final distribution to that of the logit lens at each depth. It falls in any residual " +
          "network, trained or not.",
        label: "KL (nats)",
        figure: ({ kl }) => kl,
      }),
      byDepth(context, positions, {
        title: "Where the final answer is the likeliest already",
        caption: "Fraction of positions at which the likeliest token of the lens is the final one.",
        label: "top-1 agreement",
        figure: ({ agrees }) => agrees,
      }),
      byDepth(context, positions, {
        title: "How sure the lens is",
        caption: `Entropy of the distribution of the lens. A uniform distribution over all ${model.recipe.rows} tokens has ${Math.log(model.recipe.rows).toFixed(1)} nats.`,
        label: "entropy (nats)",
        figure: (position) => position.entropy,
      }),
      withNull(
        byDepth(context, once, {
          title: "The rank of the token that comes next",
          caption:
            "log₂ of its rank under the lens, each next token counted once. Null: its mean with shuffled layers.",
          label: "log₂ rank",
          figure: ({ rank }) => rank,
        }),
      ),
      byPosition(context, positions, length),
      ...oneSentence(context, shown),
      spread,
    ],
    notes: [
      "The lens approaches a model's own final distribution from layer to layer even at initialisation, since less and less " +
        "remains to be added. The claim is therefore about the actual next token of the text: how often its rank is halved " +
        "from the embedding to the last block, by a straight line through all depths. Layers are shuffled by reversing those of a " +
        "position: any other order separates neighbouring layers, which resemble each other, and would make the null too narrow.",
    ],
  };
}

/** Applies the lens to sequences, except at their last positions, whose next token is unknown. */
async function readPositions(
  context: ExperimentContext,
  sequences: readonly Int32Array[],
  [from, to]: readonly [number, number],
): Promise<Position[]> {
  const { model, embedding } = context.model;
  const names = residualHooks(model.config);
  const positions: Position[] = [];
  const items = sequences.map((ids, window): Sequence & { window: number } => ({ ids, window }));
  for await (const { item, logits, activation } of forwardPasses(context, items, { record: names })) {
    const count = item.ids.length - 1;
    // (L·(T−1),d): all depths but the last, for which the model itself gives the logits.
    const rows = matrix((names.length - 1) * count, embedding.columns);
    const here = Array.from({ length: count }, (_, at): Position => {
      const next = item.ids[at + 1];
      for (let l = 0; l < names.length - 1; l++) rowOf(rows, l * count + at).set(activation(names[l], at));
      return { window: item.window, at, next, kl: [], agrees: [], entropy: [], rank: [], top: [] };
    });
    const final = here.map((_, at) => logits(at).slice());
    const record = (position: Position, predicted: Float32Array) => {
      const last = final[position.at];
      position.kl.push(klDivergence(last, predicted));
      position.top.push(likeliest(predicted));
      position.agrees.push(position.top.at(-1) === likeliest(last) ? 1 : 0);
      position.entropy.push(entropy(predicted));
      position.rank.push(Math.log2(rankOf(predicted, position.next)));
    };
    let row = 0;
    for await (const predicted of logitLens(context, rows)) record(here[row++ % count], predicted);
    for (const [at, position] of here.entries()) record(position, final[at]);
    positions.push(...here);
    await context.progress(from + ((to - from) * (item.window + 1)) / sequences.length);
  }
  return positions;
}

// ---- figures ----------------------------------------------------------------------------------------------

interface ByDepth {
  title: string;
  caption: string;
  label: string;
  figure: (position: Position) => readonly number[];
}

/** Means over positions. Their intervals resample windows, since the positions of a window are correlated. */
function byDepth(
  context: ExperimentContext,
  positions: readonly Position[],
  { title, caption, label, figure }: ByDepth,
): Lines {
  const groups = [...groupBy(positions, ({ window }) => window).values()];
  const meanAt = (l: number) => (some: readonly (readonly Position[])[]) =>
    mean(some.flatMap((group) => group.map((position) => figure(position)[l])));
  const x = relativeDepths(figure(positions[0]).length);
  const bands = x.map((_, l) => bootstrap(groups, meanAt(l), context.random(`${title}/${l}`), 199));
  const series = {
    name: "the model",
    x,
    y: x.map((_, l) => meanAt(l)(groups)),
    low: bands.map(([low]) => low),
    high: bands.map(([, high]) => high),
  };
  return { type: "lines", title, caption, x: { label: "depth" }, y: { label }, series: [series] };
}

function withNull(lines: Lines): Lines {
  const [{ x, y }] = lines.series;
  const level = { name: "shuffled layers", x, y: meanOfBothOrders(y), isNull: true };
  return { ...lines, series: [...lines.series, level] };
}

/** Maximum number of columns of the heatmap. */
const BINS = 8;

function byPosition(context: ExperimentContext, positions: readonly Position[], length: number): Figure {
  const bins = Math.min(BINS, length - 1);
  const binOf = ({ at }: Position) => Math.floor((at * bins) / (length - 1));
  const byBin = groupBy(positions, binOf);
  const edges = Array.from({ length: bins + 1 }, (_, bin) => Math.ceil((bin * (length - 1)) / bins));
  return {
    type: "heatmap",
    title: "Distance from the final answer, by layer and position",
    caption: "KL from the final distribution to that of the lens, mean over windows of held-out text.",
    x: { label: "position" },
    y: { label: "depth" },
    value: { label: "KL", unit: "nats" },
    columns: Array.from({ length: bins }, (_, bin) => `${edges[bin]}–${edges[bin + 1] - 1}`),
    rows: depthNames(context),
    values: depthNames(context).map((_, l) =>
      Array.from({ length: bins }, (_, bin) => mean(byBin.get(bin)!.map(({ kl }) => kl[l]))),
    ),
  };
}

function oneSentence(context: ExperimentContext, positions: readonly Position[]): Figure[] {
  const { tokenizer } = context.model.model;
  const ids = context.model.model.tokenize(SENTENCE);
  const columns = positions.map(({ at }) => visible(tokenizer.tokenText(ids[at])));
  const names = depthNames(context);
  return [
    {
      type: "heatmap",
      title: "One sentence",
      caption: `“${SENTENCE}”, token by token: KL from the final prediction of the next token to that of the lens.`,
      x: { label: "token" },
      y: { label: "depth" },
      value: { label: "KL", unit: "nats" },
      columns,
      rows: names,
      values: names.map((_, l) => positions.map(({ kl }) => kl[l])),
    },
    {
      type: "table",
      title: "Predictions of the lens",
      caption: "The likeliest next token after each token of the sentence, by depth.",
      columns: ["after", ...names],
      rows: positions.map(({ top }, i) => [columns[i], ...top.map((id) => visible(tokenizer.tokenText(id)))]),
    },
  ];
}

const depthNames = ({ model: { model } }: ExperimentContext): string[] =>
  relativeDepths(model.config.n_layers + 1).map((x, l) =>
    l === 0 ? "embedding" : `block ${l} (${x.toFixed(2)})`,
  );
