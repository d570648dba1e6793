/** A model run on many short sequences at once, each of them changed in its own way. */
import { type Direction, directionAlong, lengthOf, move } from "../../math/direction.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, rowOf } from "../../math/matrix.ts";
import { randomDirection, sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import type { GenePatch } from "../../patches/patch.ts";
import type { Hook } from "../../transformer/hooks.ts";
import type { ProbeContext, ProbedModel } from "../framework/experiment.ts";

/** Logits that one pass makes, and rows that it has, at the most: 16 MB, and enough to keep the matrix kernels busy. */
const MOST_LOGITS = 2 ** 22;
const MOST_ROWS = 512;

export interface Sequence {
  readonly ids: ArrayLike<number>;
}

/** What came of a sequence. It is there until the next one is asked for. */
export interface Forwarded<T> {
  readonly item: T;
  /** Of what follows position t: (V), the tokenizer's tokens alone. */
  logits(t: number): Float32Array;
  /** What was kept of a hook point, at position t. */
  kept(hook: string, t: number): Float32Array;
}

export interface ForwardsOptions<T> {
  /** What is done to a pass' sequences, which it is given in their order. */
  hooks?(batch: readonly T[]): readonly Hook[];
  /** Hook points to keep, as the hooks leave them. */
  keep?: readonly string[];
  /** With edited recipes. */
  patch?: GenePatch;
}

/**
 * Runs sequences in order, as many in a pass as sensibly fit. They may differ in length: shorter ones are filled up at
 * their end, which nothing before it sees.
 */
export async function* forwards<T extends Sequence>(
  { model: { model, recipe }, progress }: ProbeContext,
  items: readonly T[],
  { hooks, keep = [], patch }: ForwardsOptions<NoInfer<T>> = {},
): AsyncGenerator<Forwarded<T>> {
  const { vocab_size: V } = model.config;
  const T = Math.max(...items.map(({ ids }) => ids.length));
  const most = Math.max(1, Math.floor(Math.min(MOST_ROWS, MOST_LOGITS / V) / T));
  for (let from = 0; from < items.length; from += most) {
    const batch = items.slice(from, from + most);
    const kept = new Map<string, Float32Array>();
    const keeping = keep.map((name): Hook => [name, ({ data }) => void kept.set(name, data)]);
    const { data } = await model.runWithHooks(
      batch.map(({ ids }) => Int32Array.from({ length: T }, (_, t) => ids[t] ?? 0)),
      { hooks: [...(hooks?.(batch) ?? []), ...keeping], patch },
    );
    const rows = batch.length * T;
    for (const [b, item] of batch.entries()) {
      yield {
        item,
        logits: (t) => data.subarray((b * T + t) * V, (b * T + t) * V + recipe.rows),
        kept: (hook, t) => {
          const values = kept.get(hook)!;
          const width = values.length / rows;
          return values.subarray((b * T + t) * width, (b * T + t + 1) * width);
        },
      };
    }
    await progress();
  }
}

/**
 * The logit lens (nostalgebraist 2020): what the readout makes of rows (n,d) of the residual stream, as if no block came
 * after them. Logits (V) of each in turn, to be used before the next is asked for.
 */
export async function* lens(
  { model: { model, recipe }, progress }: ProbeContext,
  { rows, columns: d, data: x }: Matrix,
): AsyncGenerator<Float32Array> {
  const { vocab_size: V, n_layers } = model.config;
  const most = Math.max(1, Math.min(MOST_ROWS, Math.floor(MOST_LOGITS / V)));
  for (let from = 0; from < rows; from += most) {
    const some = x.subarray(from * d, Math.min(rows, from + most) * d);
    const n = some.length / d;
    // The blocks run on nothing in particular; what leaves the last of them is replaced.
    const { data } = await model.runWithHooks(
      Array.from({ length: n }, () => [0]),
      { hooks: [[residual(n_layers - 1), () => some]] },
    );
    for (let i = 0; i < n; i++) yield data.subarray(i * V, i * V + recipe.rows);
    await progress();
  }
}

/** Where the residual stream leaves a block. */
export const residual = (layer: number): string => `blocks.${layer}.hook_resid_post`;

/** Where the residual stream is read: before the first block, and after each. */
export const depths = ({ n_layers }: { n_layers: number }): string[] => [
  "blocks.0.hook_resid_pre",
  ...Array.from({ length: n_layers }, (_, layer) => residual(layer)),
];

/** Blocks from one fraction of depth to another, one at the least: [first, last]. */
export function blocksBetween(layers: number, from: number, to: number): readonly [number, number] {
  const first = Math.min(layers - 1, Math.round(from * layers));
  return [first, Math.max(first, Math.round(to * layers) - 1)];
}

// ---- pushes -----------------------------------------------------------------------------------------------

/** x += δ·u where the residual stream leaves blocks, at every position. */
export interface Push {
  readonly u: Direction;
  /** δ: so many times ‖x‖ of the position, or of length 1. */
  readonly by: number;
  readonly unit: "residNorm" | "raw";
  /** Inclusive. */
  readonly layers: readonly [first: number, last: number];
}

/** The hooks that push each sequence of a pass, those without a push excepted. */
export function pushes(batch: readonly { readonly push?: Push }[]): Hook[] {
  const layers = new Set(batch.flatMap(({ push }) => (push ? range(push.layers[0], push.layers[1]) : [])));
  return [...layers].map(
    (layer): Hook => [
      residual(layer),
      ({ data, shape: [, T, d] }) => {
        for (const [b, { push }] of batch.entries()) {
          if (!push || push.by === 0 || layer < push.layers[0] || layer > push.layers[1]) continue;
          for (let t = 0; t < T; t++) {
            const x = data.subarray((b * T + t) * d, (b * T + t + 1) * d);
            move(x, push.unit === "residNorm" ? push.by * lengthOf(x) : push.by, push.u);
          }
        }
        return data;
      },
    ],
  );
}

const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** The direction of a sum of tokens: Σ c·E[id]. */
export function along(
  { embedding }: ProbedModel,
  terms: readonly { readonly id: number; readonly coefficient: number }[],
): Direction {
  const v = new Float64Array(embedding.columns);
  for (const { id, coefficient } of terms) {
    const row = rowOf(embedding, id);
    for (let i = 0; i < v.length; i++) v[i] += coefficient * row[i];
  }
  // A reflow-topk may have left a token nothing: pushed nowhere, nothing changes.
  return directionAlong(v.some((x) => x !== 0) ? v : new Float64Array());
}

/**
 * Directions of random recipes r·B, r in any direction alike: at initialisation a sum of tokens has no other distribution.
 */
export async function randomPushDirections(
  { model, recipe, basis }: ProbedModel,
  count: number,
  random: Random,
): Promise<Direction[]> {
  const recipes = matrix(count, recipe.columns);
  for (let i = 0; i < count; i++) rowOf(recipes, i).set(randomDirection(recipe.columns, random));
  const residuals = basis ? await multiply(model, recipes, basis) : recipes;
  return Array.from({ length: count }, (_, i) => directionAlong(Float64Array.from(rowOf(residuals, i))));
}

// ---- text -------------------------------------------------------------------------------------------------

/**
 * Pieces of the held-out text, none of which crosses a document's end or overlaps another, from anywhere in it. Fewer where
 * the text hasn't so many.
 */
export function windows(
  { text, model: { model } }: ProbeContext,
  { count, length }: { count: number; length: number },
  random: Random,
): Int32Array[] {
  const { endOfText } = model.tokenizer;
  if (length < 1) return [];
  const begins: number[] = [];
  for (let begin = 0; begin + length <= text.length; ) {
    const end = text.subarray(begin, begin + length).lastIndexOf(endOfText);
    if (end < 0) begins.push(begin);
    begin += end < 0 ? length : end + 1;
  }
  return sample(begins.length, count, random).map((i) => text.slice(begins[i], begins[i] + length));
}

/** Tokens for a table, in which a line's end would not be seen. */
export const visible = (text: string): string => text.replaceAll("\n", "⏎");
