/** What a prediction loses where one direction of the signals is replaced before the recipes read them. */
import { logSum } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { largest, matrix, multiply, pick, rowOf } from "../../math/matrix.ts";
import type { ProbedModel } from "../framework/experiment.ts";
import { crossEntropy } from "../passes/predictions.ts";

/** What takes a signal's place: nothing, its mean over the text, or what it is at a random position of that. */
export const REPLACEMENTS = ["zero", "mean", "resample"] as const;
export type Replacement = (typeof REPLACEMENTS)[number];

/** The mean leaves of a signal what it always is, so that only what it says here is taken away. */
export const CLAIMED: Replacement = "mean";

/** Predictions at single positions, as the signals make them. */
export interface Predictions {
  /** z before the recipes, (P,S) */
  readonly signals: Matrix;
  /** Recipes (n,S) of the tokens that are told apart. */
  readonly recipes: Matrix;
  /** (P): the place of each position's own next token among these. */
  readonly targets: readonly number[];
}

/** The direction that a prediction rests on most. */
export interface Strongest {
  /** Which one. */
  readonly direction: number;
  /** Logits (n) with and without it. */
  readonly before: Float32Array;
  readonly after: Float32Array;
  /** ΔCE of the target, nats */
  readonly loss: number;
}

/** Directions whose effect on a prediction is worked out. */
const CANDIDATES = 2;

/**
 * Finds for each prediction which of some directions q it rests on most: z becomes z − c·q with c = (z − r)·q, from which
 * logits become logits − c·a with a = R·q.
 *
 * A softmax for every direction is too much work. Of ΔCE = c·a_t + log E_p[exp(−c·a)] a bound is cheap, by Jensen's inequality:
 * it is c·(a_t − E_p[a]) at the least. Where that is largest the effect is worked out exactly.
 *
 * @param replacements r (P,S), the signals that take z's place
 * @returns a function of directions (m,S), of length 1
 */
export async function strongest(
  { model }: ProbedModel,
  { signals, recipes, targets }: Predictions,
  replacements: Matrix,
): Promise<(directions: Matrix) => Promise<Strongest[]>> {
  const { rows: P, columns: S } = signals;
  const logits = await multiply(model, signals, recipes, { transB: true }); // (P,n)
  const shares = matrix(P, recipes.rows);
  for (let p = 0; p < P; p++) {
    const normalizer = logSum(rowOf(logits, p));
    rowOf(shares, p).set(rowOf(logits, p).map((x) => Math.exp(x - normalizer)));
  }
  const means = await multiply(model, shares, recipes); // (P,S): E_p of the recipe
  // (2P,S): what is left of z, and how the target's recipe stands out.
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

/** logits − c·a. (In a loop: `map` takes 0.24 ms for 8,192 of them, which was half of a draw.) */
export function minus(logits: Float32Array, c: number, a: Float32Array): Float32Array {
  const out = logits.slice();
  for (let v = 0; v < out.length; v++) out[v] -= c * a[v];
  return out;
}

/** x − ((x − r)·q)·q, in place: along q, x becomes what r is. */
export function replaceAlong(x: Float32Array, q: Float32Array, r: Float32Array): void {
  let c = 0;
  for (let s = 0; s < x.length; s++) c += (x[s] - r[s]) * q[s];
  for (let s = 0; s < x.length; s++) x[s] -= c * q[s];
}
