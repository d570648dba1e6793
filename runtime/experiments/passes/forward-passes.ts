/** Batched forward passes over many short sequences, each with its own intervention. */
import { type Direction, directionAlong, lengthOf, move } from "../../math/direction.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, rowOf } from "../../math/matrix.ts";
import { randomDirection, sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import type { GenePatch } from "../../patches/patch.ts";
import type { Hook } from "../../transformer/hooks.ts";
import type { ExperimentContext, ExperimentModel } from "../framework/experiment.ts";

/** Maximum numbers of logits and of rows per pass: 16 MB, and enough rows to keep the matrix kernels busy. */
const MOST_LOGITS = 2 ** 22;
const MOST_ROWS = 512;

export interface Sequence {
  readonly ids: ArrayLike<number>;
}

/** The output for one sequence, valid until the next one is requested. */
export interface SequenceOutput<T> {
  readonly item: T;
  /** Logits of the token after position t, (V), the tokenizer's tokens only. */
  logits(t: number): Float32Array;
  /** A recorded hook point at position t. */
  activation(hook: string, t: number): Float32Array;
}

export interface ForwardPassOptions<T> {
  /** Returns the hooks of a pass, given its sequences in order. */
  hooks?(batch: readonly T[]): readonly Hook[];
  /** Hook points to record, after `hooks` have run. */
  record?: readonly string[];
  /** Recipe edits to apply. */
  patch?: GenePatch;
}

/**
 * Runs sequences in order, batched into passes. They may differ in length: shorter ones are padded at the end, which does not
 * affect earlier positions.
 */
export async function* forwardPasses<T extends Sequence>(
  { model: { model, recipe }, progress }: ExperimentContext,
  items: readonly T[],
  { hooks, record = [], patch }: ForwardPassOptions<NoInfer<T>> = {},
): AsyncGenerator<SequenceOutput<T>> {
  const { vocab_size: V } = model.config;
  const T = Math.max(...items.map(({ ids }) => ids.length));
  const most = Math.max(1, Math.floor(Math.min(MOST_ROWS, MOST_LOGITS / V) / T));
  for (let from = 0; from < items.length; from += most) {
    const batch = items.slice(from, from + most);
    const kept = new Map<string, Float32Array>();
    const keeping = record.map((name): Hook => [name, ({ data }) => void kept.set(name, data)]);
    const { data } = await model.runWithHooks(
      batch.map(({ ids }) => Int32Array.from({ length: T }, (_, t) => ids[t] ?? 0)),
      { hooks: [...(hooks?.(batch) ?? []), ...keeping], patch },
    );
    const rows = batch.length * T;
    for (const [b, item] of batch.entries()) {
      yield {
        item,
        logits: (t) => data.subarray((b * T + t) * V, (b * T + t) * V + recipe.rows),
        activation: (hook, t) => {
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
 * The logit lens (nostalgebraist 2020): applies the readout to rows (n,d) of the residual stream, skipping the remaining
 * blocks. Yields the logits (V) of each row, valid until the next one is requested.
 */
export async function* logitLens(
  { model: { model, recipe }, progress }: ExperimentContext,
  { rows, columns: d, data: x }: Matrix,
): AsyncGenerator<Float32Array> {
  const { vocab_size: V, n_layers } = model.config;
  const most = Math.max(1, Math.min(MOST_ROWS, Math.floor(MOST_LOGITS / V)));
  for (let from = 0; from < rows; from += most) {
    const some = x.subarray(from * d, Math.min(rows, from + most) * d);
    const n = some.length / d;
    // The blocks run on an arbitrary token; the output of the last block is replaced.
    const { data } = await model.runWithHooks(
      Array.from({ length: n }, () => [0]),
      { hooks: [[residualHook(n_layers - 1), () => some]] },
    );
    for (let i = 0; i < n; i++) yield data.subarray(i * V, i * V + recipe.rows);
    await progress();
  }
}

/** The hook point at the output of a block. */
export const residualHook = (layer: number): string => `blocks.${layer}.hook_resid_post`;

/** The hook points of the residual stream: before the first block, and after each block. */
export const residualHooks = ({ n_layers }: { n_layers: number }): string[] => [
  "blocks.0.hook_resid_pre",
  ...Array.from({ length: n_layers }, (_, layer) => residualHook(layer)),
];

/** The blocks between two fractions of depth, at least one: [first, last]. */
export function blocksBetween(layers: number, from: number, to: number): readonly [number, number] {
  const first = Math.min(layers - 1, Math.round(from * layers));
  return [first, Math.max(first, Math.round(to * layers) - 1)];
}

// ---- pushes -----------------------------------------------------------------------------------------------

/** x += δ·u at the output of some blocks, at every position. */
export interface Push {
  readonly u: Direction;
  /** δ, in units of ‖x‖ at each position (`residNorm`) or of length 1 (`raw`). */
  readonly by: number;
  readonly unit: "residNorm" | "raw";
  /** Inclusive. */
  readonly layers: readonly [first: number, last: number];
}

/** The hooks that push each sequence of a pass; sequences without a push are unchanged. */
export function pushHooks(batch: readonly { readonly push?: Push }[]): Hook[] {
  const layers = new Set(batch.flatMap(({ push }) => (push ? range(push.layers[0], push.layers[1]) : [])));
  return [...layers].map(
    (layer): Hook => [
      residualHook(layer),
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
export function sumDirection(
  { embedding }: ExperimentModel,
  terms: readonly { readonly id: number; readonly coefficient: number }[],
): Direction {
  const v = new Float64Array(embedding.columns);
  for (const { id, coefficient } of terms) {
    const row = rowOf(embedding, id);
    for (let i = 0; i < v.length; i++) v[i] += coefficient * row[i];
  }
  // A reflow-topk recipe may be all zeros: the push then changes nothing.
  return directionAlong(v.some((x) => x !== 0) ? v : new Float64Array());
}

/**
 * Directions of random recipes r·B with isotropic r: at initialisation, sums of tokens have the same distribution.
 */
export async function randomPushDirections(
  { model, recipe, basis }: ExperimentModel,
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
 * Random, non-overlapping windows of the held-out text that do not cross document boundaries. Returns fewer than `count` if
 * the text is too short.
 */
export function textWindows(
  { text, model: { model } }: ExperimentContext,
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

/** Text for a table cell, with line breaks made visible. */
export const visible = (text: string): string => text.replaceAll("\n", "⏎");
