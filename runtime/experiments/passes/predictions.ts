/** What is read off logits (V). */
import { logSum } from "../../math/logits.ts";

/** −log p of a token, in nats. */
export const crossEntropy = (logits: Float32Array, id: number): number => logSum(logits) - logits[id];

/** Of the distribution, in nats: log V where all are as likely, 0 where one is certain. */
export function entropy(logits: Float32Array): number {
  const normalizer = logSum(logits);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const share = Math.exp(logits[i] - normalizer);
    if (share > 0) sum -= share * (logits[i] - normalizer);
  }
  return sum;
}

/** 1 where no other token is likelier. */
export function rankOf(logits: Float32Array, id: number): number {
  let rank = 1;
  for (let i = 0; i < logits.length; i++) if (logits[i] > logits[id]) rank++;
  return rank;
}

/** The likeliest token; of equals the first. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}
