/** Signals replaced where tokens are looked up: what no formula tells. */
import { klDivergence } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, pick, rowOf } from "../../math/matrix.ts";
import { sample } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import type { Hook } from "../../transformer/hooks.ts";
import type { ProbeContext } from "../framework/experiment.ts";
import { randomOrthogonal } from "../framework/null-draws.ts";
import { forwards, type Sequence } from "../passes/forward-passes.ts";
import { crossEntropy } from "../passes/predictions.ts";
import { CLAIMED, minus, REPLACEMENTS, type Replacement, replaceAlong } from "./replacement.ts";

/** What the model predicts best of some held-out text. */
export interface Fact extends Sequence {
  /** What comes next. */
  target: number;
  signals: Float32Array;
  loss: number;
}

/** What a text's signals and looked-up recipes are, position by position: where replacements are taken from. */
export interface Reference {
  signals: Matrix;
  recipes: Matrix;
}

/** What becomes of a prediction. */
export interface Effect {
  loss: number;
  kl: number;
  /** Of the target. */
  before: number;
  after: number;
}

/** A fact's sequence with one direction of its recipes replaced. */
interface Replaced extends Sequence {
  fact: number;
  direction: number;
  q: Float32Array;
  /** What takes the recipes' place along it, position by position. */
  recipes: readonly Float32Array[];
}

/** What is found at one place, fact by fact. */
export interface Row {
  place: "output" | "input" | "both";
  replacement: Replacement;
  effects: Effect[];
  /** The same of random directions. */
  chance?: number;
}

/** What may take the place of a table's rows: a function, since of random ones each is another. */
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

export async function throughForwards(
  context: ProbeContext,
  facts: readonly Fact[],
  reference: Reference,
  signals: readonly number[],
): Promise<Row[]> {
  const S = context.model.recipe.columns;
  const before: Float32Array[] = [];
  for await (const { item, logits } of forwards(context, facts))
    before.push(logits(item.ids.length - 1).slice());
  const axes = pick(identity(S), signals);
  const random = context.random("input");
  const others = pick(randomOrthogonal(S, random), sample(S, signals.length, random));
  const rows: Row[] = [];
  for (const [i, replacement] of REPLACEMENTS.entries()) {
    const recipe = replacer(replacement, reference.recipes, random);
    const output = replacer(replacement, reference.signals, random);
    const recipes = facts.map(({ ids }) => Array.from(ids, recipe));
    const outputs = facts.map(output);
    const own = await replaced(context, facts, { before, directions: axes, recipes, outputs });
    const chance =
      replacement === CLAIMED
        ? await replaced(context, facts, { before, directions: others, recipes, outputs })
        : undefined;
    for (const place of ["input", "both"] as const) {
      const lost = chance?.[place].map(({ loss }) => loss);
      rows.push({ place, replacement, effects: own[place], ...(lost && { chance: mean(lost) }) });
    }
    await context.progress(0.5 + (0.5 * (i + 1)) / REPLACEMENTS.length);
  }
  return rows;
}

/** Each fact's strongest effect over some directions, replaced in the recipes that are looked up, and in the output too. */
async function replaced(
  context: ProbeContext,
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
  const keepLarger = (place: "input" | "both", fact: number, after: Float32Array) => {
    const effect = effectOf(before[fact], after, facts[fact].target);
    if (!(found[place][fact]?.loss >= effect.loss)) found[place][fact] = effect;
  };
  for await (const { item, logits, kept } of forwards(context, items, {
    hooks: replacing,
    keep: ["hook_signals"],
  })) {
    const { fact, direction, q } = item;
    const [t, a] = [item.ids.length - 1, rowOf(moved, direction)];
    keepLarger("input", fact, logits(t));
    const z = kept("hook_signals", t);
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
