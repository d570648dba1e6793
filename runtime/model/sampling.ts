import { ReflowError } from "../errors.ts";
import type { Random } from "./random.ts";

/** How the next token is chosen. What is absent is off, but for `temperature`, which is 1. */
export interface SamplingOptions {
  /** Logits are divided by it. 0 takes the likeliest token; of equals, the lowest id. */
  temperature?: number;
  /** Only the k likeliest tokens (Fan et al. 2018); 0 is off. */
  topK?: number;
  /** Only the fewest likeliest tokens whose probabilities reach p (Holtzman et al. 2020); 1 is off. */
  topP?: number;
  /** Only tokens at least this times as likely as the likeliest (Nguyen et al. 2024); 0 is off. */
  minP?: number;
  /** Divides the positive logits of tokens that stand in the text, multiplies the negative; 1 is off (CTRL, Keskar et al. 2019). */
  repetitionPenalty?: number;
}

export interface Logprob {
  id: number;
  /** Nats, under the model's own distribution: before penalty, temperature and cuts. */
  logprob: number;
}

/**
 * Chooses tokens from logits, in Hugging Face's order: repetition penalty, temperature, top-k, top-p (over what
 * top-k left), min-p, then the draw. It never chooses an id from `vocabSize` on (the vocabulary's padding), nor a
 * token whose logit isn't finite.
 *
 * @throws ReflowError `usage` for an option out of its range
 */
export class Sampler {
  readonly #options: Required<SamplingOptions>;
  /** Scratch, by id: penalised logits, and probabilities up to a common factor, 1 being the likeliest's. */
  readonly #scores: Float64Array;
  readonly #weights: Float64Array;
  readonly #ids: Int32Array;

  constructor(options: SamplingOptions, vocabSize: number) {
    const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = options;
    require(temperature >= 0 && temperature < Infinity, "temperature", temperature, "0 or more");
    require(Number.isInteger(topK) && topK >= 0, "topK", topK, "a whole number, 0 for off");
    require(topP >= 0 && topP <= 1, "topP", topP, "0 to 1");
    require(minP >= 0 && minP <= 1, "minP", minP, "0 to 1");
    require(repetitionPenalty > 0 &&
      repetitionPenalty < Infinity, "repetitionPenalty", repetitionPenalty, "more than 0");
    this.#options = { temperature, topK, topP, minP, repetitionPenalty };
    this.#scores = new Float64Array(vocabSize);
    this.#weights = new Float64Array(vocabSize);
    this.#ids = new Int32Array(vocabSize);
  }

  /**
   * @param logits (V)
   * @param seen the distinct ids of the text so far, for the repetition penalty
   * @throws ReflowError `numerics` where no logit is finite
   */
  next(logits: Float32Array, seen: Iterable<number>, random: Random): number {
    const { temperature, repetitionPenalty } = this.#options;
    const scores = this.#scores;
    for (let id = 0; id < scores.length; id++) {
      scores[id] = Number.isFinite(logits[id]) ? logits[id] : -Infinity;
    }
    if (repetitionPenalty !== 1) {
      for (const id of seen) {
        scores[id] = scores[id] > 0 ? scores[id] / repetitionPenalty : scores[id] * repetitionPenalty;
      }
    }
    let best = 0;
    for (let id = 1; id < scores.length; id++) if (scores[id] > scores[best]) best = id;
    if (scores[best] === -Infinity) {
      throw new ReflowError(
        "numerics",
        "no logit is finite",
        "the weights, or a hook's output, hold NaN or Infinity",
      );
    }
    return temperature === 0 ? best : this.#draw(this.#candidates(scores[best]), random);
  }

  /** The ids that may be drawn; their weights are in `#weights`. */
  #candidates(most: number): Int32Array {
    const { temperature, topK, topP, minP } = this.#options;
    const [scores, weights] = [this.#scores, this.#weights];
    // A prefix of the vocabulary by likelihood, where a cut needs the order, else all of it.
    let ids = topK > 0 && topK < scores.length ? largest(scores, topK) : this.#all();
    let total = 0;
    for (const id of ids) {
      weights[id] = Math.exp((scores[id] - most) / temperature);
      total += weights[id];
    }
    if (topP < 1) {
      // Tokens below this weight add up to less than 1 − p: they are outside, and needn't be sorted.
      const floor = ((1 - topP) * total) / ids.length;
      ids = ids.filter((id) => weights[id] >= floor).sort((a, b) => weights[b] - weights[a] || a - b);
      let sum = 0;
      const end = ids.findIndex((id) => {
        sum += weights[id];
        return sum >= topP * total;
      });
      if (end >= 0) ids = ids.subarray(0, end + 1);
    }
    return minP > 0 ? ids.filter((id) => weights[id] >= minP) : ids;
  }

  #all(): Int32Array {
    for (let id = 0; id < this.#ids.length; id++) this.#ids[id] = id;
    return this.#ids;
  }

  #draw(ids: Int32Array, random: Random): number {
    const weights = this.#weights;
    let total = 0;
    for (const id of ids) total += weights[id];
    let rest = random.uniform() * total;
    let drawn = ids[0];
    for (const id of ids) {
      if (weights[id] === 0) continue;
      // Where rounding leaves a rest beyond the last, the last it is.
      drawn = id;
      rest -= weights[id];
      if (rest < 0) break;
    }
    return drawn;
  }
}

function require(condition: boolean, name: string, value: unknown, expected: string): void {
  if (!condition) throw new ReflowError("usage", `${name} is ${value}`, `use ${expected}`);
}

/** The indices of the n largest scores, the largest first; of equals, the lowest index first. */
export function largest(scores: ArrayLike<number>, n: number): Int32Array {
  const before = (a: number, b: number) => scores[a] > scores[b] || (scores[a] === scores[b] && a < b);
  const size = Math.min(n, scores.length);
  // A heap of the best so far, the last of them on top: most of a vocabulary fails its one comparison.
  const heap = Int32Array.from({ length: size }, (_, i) => i).sort((a, b) => (before(a, b) ? 1 : -1));
  for (let i = size; i < scores.length && size > 0; i++) {
    if (!before(i, heap[0])) continue;
    let at = 0;
    for (let child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && before(heap[child], heap[child + 1])) child++;
      if (!before(i, heap[child])) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = i;
  }
  return heap.sort((a, b) => (before(a, b) ? -1 : 1));
}

/**
 * Log-softmax of raw logits (V): the chosen token's, and the n likeliest tokens' with ids below `vocabSize`.
 */
export function logprobs(
  logits: Float32Array,
  id: number,
  n: number,
  vocabSize: number,
): { logprob: number; top: Logprob[] } {
  let most = -Infinity;
  for (const x of logits) if (x > most) most = x;
  let sum = 0;
  for (const x of logits) sum += Math.exp(x - most);
  const lse = most + Math.log(sum);
  const top = largest(logits.subarray(0, vocabSize), n);
  return {
    logprob: logits[id] - lse,
    top: Array.from(top, (t) => ({ id: t, logprob: logits[t] - lse })),
  };
}
