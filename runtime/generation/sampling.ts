import { ReflowError } from "../common/errors.ts";
import { before, idsWhere, lastOfLargest, prefixEnd } from "../math/logits.ts";
import type { Random } from "../math/random.ts";

/** How the next token is chosen. By default temperature is 1 and everything else is off. */
export interface SamplingOptions {
  /** Divides the logits. 0 is greedy decoding; among equal logits, the lowest id. */
  temperature?: number;
  /** Samples only from the k most likely tokens (Fan et al. 2018); 0 is off. */
  topK?: number;
  /** Samples only from the smallest set of most likely tokens whose probabilities reach p (Holtzman et al. 2020); 1 is off. */
  topP?: number;
  /** Samples only from tokens at least this fraction as likely as the most likely one (Nguyen et al. 2024); 0 is off. */
  minP?: number;
  /** Divides positive logits of tokens already in the text and multiplies negative ones (CTRL, Keskar et al. 2019); 1 is off. */
  repetitionPenalty?: number;
}

/**
 * Samples tokens from logits, in the order of Hugging Face transformers: repetition penalty, temperature, top-k, top-p (over
 * the tokens that top-k keeps), min-p, then the draw. It never chooses an id from `vocabSize` on (padding of the vocabulary)
 * or a token whose logit is not finite.
 *
 * @throws ReflowError `usage` for an option out of range
 */
export class Sampler {
  readonly #options: Required<SamplingOptions>;
  /** Scratch by id: penalised logits, and probabilities relative to that of the most likely token. */
  #scores = new Float32Array();
  #weights = new Float64Array();

  constructor(
    options: SamplingOptions,
    readonly vocabSize: number,
  ) {
    const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = options;
    const penalizes = repetitionPenalty > 0 && repetitionPenalty < Infinity;
    require(temperature >= 0 && temperature < Infinity, "temperature", temperature, "0 or more");
    require(Number.isInteger(topK) && topK >= 0, "topK", topK, "a whole number, 0 for off");
    require(topP >= 0 && topP <= 1, "topP", topP, "0 to 1");
    require(minP >= 0 && minP <= 1, "minP", minP, "0 to 1");
    require(penalizes, "repetitionPenalty", repetitionPenalty, "more than 0");
    this.#options = { temperature, topK, topP, minP, repetitionPenalty };
  }

  /**
   * @param logits (V)
   * @param seen the distinct ids of the text so far, for the repetition penalty
   * @throws ReflowError `numerics` if no logit is finite
   */
  next(logits: Float32Array, seen: Iterable<number>, random: Random): number {
    const { temperature, repetitionPenalty } = this.#options;
    // Allocated on first use, because many samplers may wait for their first logits.
    if (this.#scores.length === 0) {
      this.#scores = new Float32Array(this.vocabSize);
      this.#weights = new Float64Array(this.vocabSize);
    }
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
        "the weights or the result of a hook contain NaN or Infinity",
      );
    }
    if (temperature === 0) return best;
    return this.#draw(random.uniform() * this.#weigh(scores[best]), best);
  }

  /** Sets the weights of tokens that may be drawn (zero elsewhere) and returns their sum. */
  #weigh(most: number): number {
    const { temperature, topK, topP, minP } = this.#options;
    const [scores, weights] = [this.#scores, this.#weights];
    const lastOfK = topK > 0 && topK < scores.length ? lastOfLargest(scores, topK) : undefined;
    let total = 0;
    for (let id = 0; id < scores.length; id++) {
      const out = lastOfK !== undefined && before(scores, lastOfK, id);
      weights[id] = out ? 0 : Math.exp((scores[id] - most) / temperature);
      total += weights[id];
    }
    if (topP === 1 && minP === 0) return total;
    let lastOfP: number | undefined;
    if (topP < 1) {
      // Tokens of lower weight than this add up to less than 1 − p.
      const floor = ((1 - topP) * total) / scores.length;
      const ids = idsWhere(weights, floor);
      lastOfP = prefixEnd(scores, ids, topP * total, weights);
    }
    total = 0;
    for (let id = 0; id < scores.length; id++) {
      const out = lastOfP !== undefined && before(scores, lastOfP, id);
      if (out || weights[id] < minP) weights[id] = 0;
      total += weights[id];
    }
    return total;
  }

  /**
   * Draws by inverting the cumulative distribution in the order of ids, so that rounding of a logit rarely changes the draw.
   *
   * @param rest uniform in [0, sum of weights)
   */
  #draw(rest: number, best: number): number {
    const weights = this.#weights;
    for (let id = 0; id < weights.length; id++) {
      rest -= weights[id];
      if (rest < 0) return id;
    }
    return best; // rounding left a remainder
  }
}

function require(condition: boolean, name: string, value: unknown, expected: string): void {
  if (!condition) throw new ReflowError("usage", `${name} is ${value}`, `use ${expected}`);
}
