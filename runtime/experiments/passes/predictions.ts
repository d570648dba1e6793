/** Properties of a prediction, given its logits (V). */
import { logSum } from "../../math/logits.ts";

/** −log p of a token, in nats. */
export const crossEntropy = (logits: Float32Array, id: number): number => logSum(logits) - logits[id];

/** Entropy of the distribution in nats: log V if it is uniform, 0 if one token is certain. */
export function entropy(logits: Float32Array): number {
  const normalizer = logSum(logits);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const probability = Math.exp(logits[i] - normalizer);
    if (probability > 0) sum -= probability * (logits[i] - normalizer);
  }
  return sum;
}

/** Rank of a token, 1 if no other token is likelier. */
export function rankOf(logits: Float32Array, id: number): number {
  let rank = 1;
  for (let i = 0; i < logits.length; i++) if (logits[i] > logits[id]) rank++;
  return rank;
}

/** The likeliest token; the first of several equally likely ones. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}
