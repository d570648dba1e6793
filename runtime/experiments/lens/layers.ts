import { klDivergence } from "../../math/logits.ts";
import { matrix, rowOf } from "../../math/matrix.ts";
import { bootstrap, mean } from "../../math/statistics.ts";
import type { Probe, ProbeContext, ProbeFindings } from "../framework/experiment.ts";
import type { Figure, Lines } from "../framework/figure.ts";
import { eitherWay, evenly, fall, fallClaim } from "../passes/depth-trend.ts";
import { depths, forwards, lens, type Sequence, visible, windows } from "../passes/forward-passes.ts";
import { entropy, likeliest, rankOf } from "../passes/predictions.ts";
import { SENTENCE } from "../passes/prompts.ts";

/** Where is the answer decided? */
export const layers: Probe = {
  id: "layers",
  question: "Where is the answer decided?",
  run,
};

/** The lens at one position, by depth: before the first block, and after each. */
interface Position {
  window: number;
  /** In its window, from 0 on. */
  at: number;
  /** The token that comes next. */
  next: number;
  /** From the final distribution to the lens', nats. */
  kl: number[];
  /** 1 where the likeliest token is the final one. */
  agrees: number[];
  entropy: number[];
  /** log₂ of the next token's rank. */
  rank: number[];
  /** The likeliest token. */
  top: number[];
}

async function run(context: ProbeContext): Promise<ProbeFindings> {
  const { model, draws, quick, progress } = context;
  const { config } = model.model;
  const length = Math.min(quick ? 33 : 65, config.context);
  const read = windows(context, { count: quick ? 10 : 40, length }, context.random("windows"));
  const parameters = { windows: read.length, length, layers: config.n_layers };
  const sentence = model.model.tokenize(SENTENCE).subarray(0, config.context);
  const shown = await look(context, [sentence], [0, 0.1]);
  const positions = read.length > 0 ? await look(context, read, [0.1, 0.95]) : [];
  if (positions.length === 0) {
    const note = `The text has no ${length} tokens that belong together: nothing is claimed.`;
    return { parameters, claims: [], figures: oneSentence(context, shown), notes: [note] };
  }

  // Each next token once: what a model does with a frequent one would count again and again.
  const seen = new Set<number>();
  const once = positions.filter(({ next }) => !seen.has(next) && seen.add(next));
  const falls = once.map(({ rank }) => fall(rank));
  const { claim, spread } = fallClaim(context, "layers.depth", falls, {
    title: "Halvings of the rank with layers shuffled",
    x: { label: "halvings of the next token's rank over the whole depth" },
  });
  await progress(1);
  return {
    parameters: { ...parameters, positions: positions.length, nextTokens: once.length, draws: draws.cheap },
    claims: [claim],
    figures: [
      byDepth(context, positions, {
        title: "How far the lens is from the final answer",
        caption:
          "KL from the model's final distribution to what its readout would say at each depth. It falls in any residual " +
          "network, trained or not.",
        label: "KL (nats)",
        figure: ({ kl }) => kl,
      }),
      byDepth(context, positions, {
        title: "Where the final answer is the likeliest already",
        caption: "The share of positions at which the lens' likeliest token is the final one.",
        label: "top-1 agreement",
        figure: ({ agrees }) => agrees,
      }),
      byDepth(context, positions, {
        title: "How sure the lens is",
        caption: `Entropy of the lens' distribution. All ${model.recipe.rows} tokens alike would be ${Math.log(model.recipe.rows).toFixed(1)} nats.`,
        label: "entropy (nats)",
        figure: (position) => position.entropy,
      }),
      withChance(
        byDepth(context, once, {
          title: "The rank of the token that comes next",
          caption:
            "log₂ of its rank in what the lens says, each next token counted once; chance is its mean with the layers shuffled.",
          label: "log₂ rank",
          figure: ({ rank }) => rank,
        }),
      ),
      byPosition(context, positions, length),
      ...oneSentence(context, shown),
      spread,
    ],
    notes: [
      "To a model's own final distribution the lens comes closer from layer to layer at initialisation too, since what is " +
        "left to be added gets less. So the claim is about the token that the text goes on with: how often its rank is " +
        "halved from the embedding to the last block, by a straight line through all depths. Layers are shuffled by reversing a " +
        "position's: in any other order neighbours no longer resemble each other, and chance would look smaller than it is.",
    ],
  };
}

/** Sequences through the lens, but for their last positions, whose next token isn't known. */
async function look(
  context: ProbeContext,
  sequences: readonly Int32Array[],
  [from, to]: readonly [number, number],
): Promise<Position[]> {
  const { model, embedding } = context.model;
  const names = depths(model.config);
  const positions: Position[] = [];
  const items = sequences.map((ids, window): Sequence & { window: number } => ({ ids, window }));
  for await (const { item, logits, kept } of forwards(context, items, { keep: names })) {
    const count = item.ids.length - 1;
    // (L·(T−1),d): all depths but the last, which the model has read itself.
    const rows = matrix((names.length - 1) * count, embedding.columns);
    const here = Array.from({ length: count }, (_, at): Position => {
      const next = item.ids[at + 1];
      for (let l = 0; l < names.length - 1; l++) rowOf(rows, l * count + at).set(kept(names[l], at));
      return { window: item.window, at, next, kl: [], agrees: [], entropy: [], rank: [], top: [] };
    });
    const final = here.map((_, at) => logits(at).slice());
    const see = (position: Position, seen: Float32Array) => {
      const last = final[position.at];
      position.kl.push(klDivergence(last, seen));
      position.top.push(likeliest(seen));
      position.agrees.push(position.top.at(-1) === likeliest(last) ? 1 : 0);
      position.entropy.push(entropy(seen));
      position.rank.push(Math.log2(rankOf(seen, position.next)));
    };
    let row = 0;
    for await (const seen of lens(context, rows)) see(here[row++ % count], seen);
    for (const [at, position] of here.entries()) see(position, final[at]);
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

/** Means over positions with their intervals, which are over windows: those of a window resemble each other. */
function byDepth(
  context: ProbeContext,
  positions: readonly Position[],
  { title, caption, label, figure }: ByDepth,
): Lines {
  const groups = [...Map.groupBy(positions, ({ window }) => window).values()];
  const meanAt = (l: number) => (some: readonly (readonly Position[])[]) =>
    mean(some.flatMap((group) => group.map((position) => figure(position)[l])));
  const x = evenly(figure(positions[0]).length);
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

function withChance(lines: Lines): Lines {
  const [{ x, y }] = lines.series;
  const level = { name: "layers shuffled", x, y: eitherWay(y), isNull: true };
  return { ...lines, series: [...lines.series, level] };
}

/** Columns of a map. */
const BINS = 8;

function byPosition(context: ProbeContext, positions: readonly Position[], length: number): Figure {
  const bins = Math.min(BINS, length - 1);
  const binOf = ({ at }: Position) => Math.floor((at * bins) / (length - 1));
  const byBin = Map.groupBy(positions, binOf);
  const edges = Array.from({ length: bins + 1 }, (_, bin) => Math.ceil((bin * (length - 1)) / bins));
  return {
    type: "heatmap",
    title: "Distance from the final answer, by layer and position",
    caption: "KL from the final distribution to the lens', mean over windows of held-out text.",
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

function oneSentence(context: ProbeContext, positions: readonly Position[]): Figure[] {
  const { tokenizer } = context.model.model;
  const ids = context.model.model.tokenize(SENTENCE);
  const columns = positions.map(({ at }) => visible(tokenizer.tokenText(ids[at])));
  const names = depthNames(context);
  return [
    {
      type: "heatmap",
      title: "One sentence",
      caption: `“${SENTENCE}”, token by token: how far what the lens says of the next token is from the final answer.`,
      x: { label: "token" },
      y: { label: "depth" },
      value: { label: "KL", unit: "nats" },
      columns,
      rows: names,
      values: names.map((_, l) => positions.map(({ kl }) => kl[l])),
    },
    {
      type: "table",
      title: "What the lens says",
      caption: "The likeliest next token after each of the sentence's, by depth.",
      columns: ["after", ...names],
      rows: positions.map(({ top }, i) => [columns[i], ...top.map((id) => visible(tokenizer.tokenText(id)))]),
    },
  ];
}

const depthNames = ({ model: { model } }: ProbeContext): string[] =>
  evenly(model.config.n_layers + 1).map((x, l) => (l === 0 ? "embedding" : `block ${l} (${x.toFixed(2)})`));
