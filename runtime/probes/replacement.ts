/** What a prediction loses where one direction of the signals is replaced before the recipes read them. */
import { matrix, multiply, pick, rowOf } from "./linear.ts";
import type { Matrix, ProbedModel } from "./probe.ts";
import { crossEntropy, logSum } from "./readings.ts";

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

/**
 * Finds for each prediction which of some directions q it rests on most: z becomes z − c·q with c = (z − r)·q, from which
 * logits become logits − c·R·q.
 *
 * The softmax of each is too much work: directions are chosen by the second-order term of ΔCE = c·a_t + log E_p[exp(−c·a)],
 * with a = R·q, that is c·(a_t − E_p[a]) + c²/2·Var[a], its variance pooled over predictions; what is chosen is exact.
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
  const pooled = new Float64Array(recipes.rows);
  for (let p = 0; p < P; p++) {
    const [row, share] = [rowOf(logits, p), rowOf(shares, p)];
    const normalizer = logSum(row);
    for (let v = 0; v < row.length; v++) {
      share[v] = Math.exp(row[v] - normalizer);
      pooled[v] += share[v] / P;
    }
  }
  const means = await multiply(model, shares, recipes); // (P,S): E_p of the recipe
  // (2P+S,S): what is left of z, how the target's recipe stands out, and the recipes' pooled covariance.
  const stacked = matrix(2 * P + S, S);
  for (let p = 0; p < P; p++) {
    const [z, r, target] = [rowOf(signals, p), rowOf(replacements, p), rowOf(recipes, targets[p])];
    rowOf(stacked, p).set(z.map((x, s) => x - r[s]));
    rowOf(stacked, P + p).set(target.map((x, s) => x - rowOf(means, p)[s]));
  }
  const weighted = matrix(recipes.rows, S);
  for (let v = 0; v < recipes.rows; v++) {
    const root = Math.sqrt(pooled[v]);
    rowOf(weighted, v).set(rowOf(recipes, v).map((x) => root * x));
  }
  const second = await multiply(model, weighted, weighted, { transA: true });
  const squared = await multiply(model, means, means, { transA: true });
  for (let i = 0; i < S * S; i++) stacked.data[2 * P * S + i] = second.data[i] - squared.data[i] / P;

  return async (directions) => {
    const { columns: m, data } = await multiply(model, stacked, directions, { transB: true });
    const variances = new Float64Array(m);
    for (let i = 0; i < S; i++) {
      const at = (2 * P + i) * m;
      for (let j = 0; j < m; j++) variances[j] += directions.data[j * S + i] * data[at + j];
    }
    const chosen = targets.map((_, p) => {
      let [best, most] = [0, -Infinity];
      for (let j = 0; j < m; j++) {
        const c = data[p * m + j];
        const effect = c * data[(P + p) * m + j] + (c * c * variances[j]) / 2;
        if (effect > most) [best, most] = [j, effect];
      }
      return best;
    });
    const distinct = [...new Set(chosen)];
    const moved = await multiply(model, pick(directions, distinct), recipes, { transB: true }); // a (k,n)
    return chosen.map((direction, p): Strongest => {
      const [before, a] = [rowOf(logits, p), rowOf(moved, distinct.indexOf(direction))];
      const c = data[p * m + direction];
      const after = before.map((x, v) => x - c * a[v]);
      const loss = crossEntropy(after, targets[p]) - crossEntropy(before, targets[p]);
      return { direction, before, after, loss };
    });
  };
}

/** x − ((x − r)·q)·q, in place: along q, x becomes what r is. */
export function replaceAlong(x: Float32Array, q: Float32Array, r: Float32Array): void {
  let c = 0;
  for (let s = 0; s < x.length; s++) c += (x[s] - r[s]) * q[s];
  for (let s = 0; s < x.length; s++) x[s] -= c * q[s];
}
