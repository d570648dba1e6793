/** The loss of a prediction when one direction of the signals is replaced before the recipes read them. */
import { logSum } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { largest, matrix, multiply, pick, rowOf } from "../../math/matrix.ts";
import type { ExperimentModel } from "../framework/experiment.ts";
import { crossEntropy } from "../passes/predictions.ts";

/** Replacements of a signal: zero, its mean over the text, or its value at a random position of the text. */
export const REPLACEMENTS = ["zero", "mean", "resample"] as const;
export type Replacement = (typeof REPLACEMENTS)[number];

/** Replacement by the mean preserves the constant part of a signal and removes only its information at this position. */
export const CLAIMED: Replacement = "mean";

/** Predictions at single positions as functions of the signals. */
export interface Predictions {
  /** z before the recipes, (P,S) */
  readonly signals: Matrix;
  /** Recipes (n,S) of the candidate tokens. */
  readonly recipes: Matrix;
  /** Index of each position's next token among the candidates, (P). */
  readonly targets: readonly number[];
}

/** The direction on which a prediction depends most. */
export interface Strongest {
  /** Its index. */
  readonly direction: number;
  /** Logits (n) with and without it. */
  readonly before: Float32Array;
  readonly after: Float32Array;
  /** ΔCE of the target, nats */
  readonly loss: number;
}

/** Directions whose effect on a prediction is computed exactly. */
const CANDIDATES = 2;

/**
 * Finds for each prediction the direction q on which it depends most: z becomes z − c·q with c = (z − r)·q, so that the
 * logits become logits − c·a with a = R·q.
 *
 * A softmax for every direction is too expensive. By Jensen's inequality, ΔCE = c·a_t + log E_p[exp(−c·a)] is at least
 * c·(a_t − E_p[a]), which is cheap. The effect is computed exactly for the directions with the largest bounds.
 *
 * @param replacements r (P,S), the signals that replace z
 * @returns a function of unit directions (m,S)
 */
export async function strongest(
  { model }: ExperimentModel,
  { signals, recipes, targets }: Predictions,
  replacements: Matrix,
): Promise<(directions: Matrix) => Promise<Strongest[]>> {
  const { rows: P, columns: S } = signals;
  const logits = await multiply(model, signals, recipes, { transB: true }); // (P,n)
  const probabilities = matrix(P, recipes.rows);
  for (let p = 0; p < P; p++) {
    const normalizer = logSum(rowOf(logits, p));
    rowOf(probabilities, p).set(rowOf(logits, p).map((x) => Math.exp(x - normalizer)));
  }
  const means = await multiply(model, probabilities, recipes); // (P,S): E_p of the recipe
  // (2P,S): z − r, and the difference of the target's recipe from the mean recipe.
  const stacked = matrix(2 * P, S);
  for (let p = 0; p < P; p++) {
    const [z, r] = [rowOf(signals, p), rowOf(replacements, p)];
    const [target, mean] = [rowOf(recipes, targets[p]), rowOf(means, p)];
    rowOf(stacked, p).set(z.map((x, s) => x - r[s]));
    rowOf(stacked, P + p).set(target.map((x, s) => x - mean[s]));
  }
  const losses = targets.map((target, p) => crossEntropy(rowOf(logits, p), target));

  return async (directions) => {
    const { columns: m, data } = await multiply(model, stacked, directions, { transB: true });
    const chosen = targets.map((_, p) => {
      const bounds = Float64Array.from({ length: m }, (_, j) => data[p * m + j] * data[(P + p) * m + j]);
      return largest(bounds, CANDIDATES);
    });
    const distinct = [...new Set(chosen.flat())];
    const places = new Map(distinct.map((direction, i) => [direction, i]));
    const moved = await multiply(model, pick(directions, distinct), recipes, { transB: true }); // a (k,n)
    return chosen.map((candidates, p) => {
      const before = rowOf(logits, p);
      const effects = candidates.map((direction): Strongest => {
        const [a, c] = [rowOf(moved, places.get(direction)!), data[p * m + direction]];
        const after = minus(before, c, a);
        return { direction, before, after, loss: crossEntropy(after, targets[p]) - losses[p] };
      });
      return effects.reduce((best, effect) => (effect.loss > best.loss ? effect : best));
    });
  };
}

/** logits − c·a. (A loop: `map` takes 0.24 ms for 8,192 logits, which was half of a draw.) */
export function minus(logits: Float32Array, c: number, a: Float32Array): Float32Array {
  const out = logits.slice();
  for (let v = 0; v < out.length; v++) out[v] -= c * a[v];
  return out;
}

/** x − ((x − r)·q)·q, in place: replaces the component of x along q by that of r. */
export function replaceAlong(x: Float32Array, q: Float32Array, r: Float32Array): void {
  let c = 0;
  for (let s = 0; s < x.length; s++) c += (x[s] - r[s]) * q[s];
  for (let s = 0; s < x.length; s++) x[s] -= c * q[s];
}
