/** Functions of one row of logits (V), on the host. */

export interface Logprob {
  id: number;
  /** In nats, under the unmodified distribution: before penalties, temperature and truncation. */
  logprob: number;
}

/** log Σ exp of logits (V). */
export function logSum(logits: Float32Array): number {
  let most = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > most) most = logits[i];
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - most);
  return most + Math.log(sum);
}

/** KL(p ‖ q) = Σ p·(log p − log q) in nats, of two rows of logits (V). */
export function klDivergence(p: Float32Array, q: Float32Array): number {
  const [logP, logQ] = [logSum(p), logSum(q)];
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    // A token of probability zero under p contributes nothing, even where q is −Infinity.
    const probability = Math.exp(p[i] - logP);
    if (probability > 0) sum += probability * (p[i] - logP - (q[i] - logQ));
  }
  // Rounding can make the divergence of equal distributions slightly negative.
  return Math.max(0, sum);
}

/** Log-softmax of logits (V): the value of token `id`, and the `n` most likely tokens with ids below `vocabSize`. */
export function logprobs(
  logits: Float32Array,
  id: number,
  n: number,
  vocabSize: number,
): { logprob: number; top: Logprob[] } {
  const lse = logSum(logits);
  const top = topK(logits.subarray(0, vocabSize), n);
  return {
    logprob: logits[id] - lse,
    top: Array.from(top, (t) => ({ id: t, logprob: logits[t] - lse })),
  };
}

/** The ids of the `n` highest scores, highest first; among equal scores, the lowest id first. */
export function topK(scores: Float32Array, n: number): Int32Array {
  if (n === 0 || scores.length === 0) return new Int32Array();
  const end = lastOfLargest(scores, n);
  const ids: number[] = [];
  for (let id = 0; id < scores.length; id++) if (!before(scores, end, id)) ids.push(id);
  return Int32Array.from(ids.sort((a, b) => (before(scores, a, b) ? -1 : 1)));
}

/** Whether `a` ranks before `b`: the higher score first, and the lower id among equal scores. */
export const before = (scores: Float32Array, a: number, b: number): boolean =>
  scores[a] > scores[b] || (scores[a] === scores[b] && a < b);

/** The ids whose value is at least `floor`. */
export function idsWhere(values: Float32Array | Float64Array, floor: number): Int32Array {
  const ids = new Int32Array(values.length);
  let n = 0;
  for (let id = 0; id < values.length; id++) if (values[id] >= floor) ids[n++] = id;
  return ids.subarray(0, n);
}

/**
 * The last id of the shortest prefix of the ranking whose sizes (1 each by default) add up to `target`, or of the whole
 * ranking if they never do. A quickselect: linear in the number of ids, and it reorders `ids`.
 */
export function prefixEnd(
  scores: Float32Array,
  ids: Int32Array,
  target: number,
  sizes?: Float64Array,
): number {
  // The answer is in [low, high); the sizes ranked before `low` add up to target − rest.
  let [low, high, rest] = [0, ids.length, target];
  let end = 0;
  while (low < high) {
    const middle = (low + high) >> 1;
    const pivot = ids[middle];
    ids[middle] = ids[high - 1];
    let at = low;
    let sum = 0;
    for (let i = low; i < high - 1; i++) {
      const id = ids[i];
      if (!before(scores, id, pivot)) continue;
      sum += sizes ? sizes[id] : 1;
      ids[i] = ids[at];
      ids[at++] = id;
    }
    ids[high - 1] = ids[at];
    ids[at] = pivot;
    if (sum >= rest && at > low) {
      high = at;
    } else {
      end = pivot;
      rest -= sum + (sizes ? sizes[pivot] : 1);
      if (rest <= 0) break;
      low = at + 1;
    }
  }
  return end;
}

/** The id of the n-th largest score. */
export function lastOfLargest(scores: Float32Array, n: number): number {
  // The n-th largest of the maxima of every 64 scores is a lower bound of the n-th largest score.
  const maxima = new Float32Array((scores.length + 63) >> 6).fill(-Infinity);
  for (let id = 0; id < scores.length; id++) {
    if (scores[id] > maxima[id >> 6]) maxima[id >> 6] = scores[id];
  }
  const floor = n < maxima.length ? maxima[prefixEnd(maxima, idsWhere(maxima, -Infinity), n)] : -Infinity;
  return prefixEnd(scores, idsWhere(scores, floor), n);
}
