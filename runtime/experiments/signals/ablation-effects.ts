/** Effects of replacing signals in the embedding lookup, which require forward passes. */
import { klDivergence } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import type { Hook } from "../../transformer/hooks.ts";
import type { ExperimentContext } from "../framework/experiment.ts";
import { randomOrthogonal } from "../framework/null-draws.ts";
import { forwardPasses, type Sequence } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";
import { CLAIMED, minus, REPLACEMENTS, type Replacement, replaceAlong } from "./replacement.ts";

/** A token of held-out text that the model predicts with high probability. */
export interface Fact extends Sequence {
  /** The next token. */
  target: number;
  signals: Float32Array;
  loss: number;
}

/** The signals and looked-up recipes of a text by position, (positions,S): the source of replacements. */
export interface Reference {
  signals: Matrix;
  recipes: Matrix;
}

/** The change of a prediction. */
export interface Effect {
  loss: number;
  kl: number;
  /** Probability of the target before and after. */
  before: number;
  after: number;
}

/** The sequence of a fact with one direction of its recipes replaced. */
interface Replaced extends Sequence {
  fact: number;
  direction: number;
  q: Float32Array;
  /** The recipes that replace its component, by position. */
  recipes: readonly Float32Array[];
}

/** Effects of replacing a signal at one site, by fact. */
export interface ReplacementResult {
  site: "output" | "input" | "both";
  replacement: Replacement;
  effects: Effect[];
  /** Mean loss with random directions instead. */
  nullLoss?: number;
}

/** Returns a function that yields replacement rows for a table; a resampled row differs from call to call. */
export function replacer(replacement: Replacement, table: Matrix, random: Random): () => Float32Array {
  if (replacement === "resample") return () => rowOf(table, Math.floor(random.uniform() * table.rows));
  const row = replacement === "mean" ? meanRow(table) : new Float32Array(table.columns);
  return () => row;
}

export function meanRow({ rows, columns, data }: Matrix): Float32Array {
  const row = new Float32Array(columns);
  for (let at = 0; at < data.length; at++) row[at % columns] += data[at] / rows;
  return row;
}

export const identity = (n: number): Matrix => {
  const out = matrix(n, n);
  for (let i = 0; i < n; i++) out.data[i * n + i] = 1;
  return out;
};

export async function ablateByForwardPasses(
  context: ExperimentContext,
  facts: readonly Fact[],
  reference: Reference,
  signals: readonly number[],
): Promise<ReplacementResult[]> {
  const S = context.model.recipe.columns;
  const before: Float32Array[] = [];
  for await (const { item, logits } of forwardPasses(context, facts))
    before.push(logits(item.ids.length - 1).slice());
  const axes = pick(identity(S), signals);
  const random = context.random("input");
  const others = pick(randomOrthogonal(S, random), sample(S, signals.length, random));
  const rows: ReplacementResult[] = [];
  for (const [i, replacement] of REPLACEMENTS.entries()) {
    const recipe = replacer(replacement, reference.recipes, random);
    const output = replacer(replacement, reference.signals, random);
    const recipes = facts.map(({ ids }) => Array.from(ids, recipe));
    const outputs = facts.map(output);
    const own = await replaced(context, facts, { before, directions: axes, recipes, outputs });
    const drawn =
      replacement === CLAIMED
        ? await replaced(context, facts, { before, directions: others, recipes, outputs })
        : undefined;
    for (const site of ["input", "both"] as const) {
      const losses = drawn?.[site].map(({ loss }) => loss);
      rows.push({ site, replacement, effects: own[site], ...(losses && { nullLoss: mean(losses) }) });
    }
    await context.progress(0.5 + (0.5 * (i + 1)) / REPLACEMENTS.length);
  }
  return rows;
}

/** The strongest effect on each fact over all directions, replaced in the looked-up recipes alone or in the output too. */
async function replaced(
  context: ExperimentContext,
  facts: readonly Fact[],
  {
    before,
    directions,
    recipes,
    outputs,
  }: {
    before: readonly Float32Array[];
    directions: Matrix;
    recipes: readonly (readonly Float32Array[])[];
    outputs: readonly Float32Array[];
  },
): Promise<Record<"input" | "both", Effect[]>> {
  const { model, recipe } = context.model;
  const moved = await multiply(model, directions, recipe, { transB: true }); // (m,V): R·q
  const items = Array.from({ length: directions.rows }, (_, direction) =>
    facts.map(({ ids }, fact): Replaced => {
      return { ids, fact, direction, q: rowOf(directions, direction), recipes: recipes[fact] };
    }),
  ).flat();
  const found: Record<"input" | "both", Effect[]> = { input: [], both: [] };
  const keepLarger = (site: "input" | "both", fact: number, after: Float32Array) => {
    const effect = effectOf(before[fact], after, facts[fact].target);
    if (!(found[site][fact]?.loss >= effect.loss)) found[site][fact] = effect;
  };
  for await (const { item, logits, activation } of forwardPasses(context, items, {
    hooks: replacing,
    record: ["hook_signals"],
  })) {
    const { fact, direction, q } = item;
    const [t, a] = [item.ids.length - 1, rowOf(moved, direction)];
    keepLarger("input", fact, logits(t));
    const z = activation("hook_signals", t);
    let c = 0;
    for (let s = 0; s < z.length; s++) c += (z[s] - outputs[fact][s]) * q[s];
    keepLarger("both", fact, minus(logits(t), c, a));
  }
  return found;
}

const replacing = (batch: readonly Replaced[]): Hook[] => [
  [
    "hook_recipe",
    ({ data, shape: [, T, S] }) => {
      for (const [b, { ids, q, recipes }] of batch.entries()) {
        for (let t = 0; t < ids.length; t++) {
          replaceAlong(data.subarray((b * T + t) * S, (b * T + t + 1) * S), q, recipes[t]);
        }
      }
      return data;
    },
  ],
];

export function effectOf(before: Float32Array, after: Float32Array, target: number): Effect {
  const [least, most] = [crossEntropy(before, target), crossEntropy(after, target)];
  return {
    loss: most - least,
    kl: klDivergence(before, after),
    before: Math.exp(-least),
    after: Math.exp(-most),
  };
}
