import type { TokenSource } from "../data/shards.ts";

export interface Baselines {
  /** Cross-entropy under unigram counts, in nats per token. */
  unigram: number;
  /** Cross-entropy under interpolated bigram counts, in nats per token. */
  bigram: number;
}

/** The largest number of bigrams counted. Longer training data is sampled in evenly spaced blocks, which suffice. */
const MAX_PAIRS = 2 ** 25;
const BLOCK = 2 ** 16;

/**
 * The cross-entropy of the validation tokens, from the second on, under unigram and bigram counts of the training tokens. A
 * model below these baselines has learnt more than token frequencies, or more than token pairs. Nothing is fitted to the
 * validation tokens.
 *
 * Let c(v,w) be how often w follows v in N pairs, c(w) = Σ_v c(v,w), and F(v) the number of distinct tokens after v:
 *
 *     p(w)   = (c(w) + 1) / (N + V)                          add-one
 *     p(w|v) = (c(v,w) + F(v)·p(w)) / (Σ_w c(v,w) + F(v))    Witten & Bell 1991; p(w) if v is unseen
 *
 * Pairs are counted by sorting them into a bucket per first token. This takes two passes over the tokens, and 2 or 4 bytes
 * per token: at most 64 MB if V ≤ 65536. 20 M tokens take about a second; in Bun, `for … of` over the typed arrays instead
 * of the index loops below doubled the time.
 */
export function countingBaselines(train: TokenSource, val: TokenSource, vocabSize: number): Baselines {
  const trainPairs = groupPairs(train, vocabSize);
  const valPairs = groupPairs(val, vocabSize);
  const unigram = new Float64Array(vocabSize);
  for (let i = 0; i < trainPairs.seconds.length; i++) unigram[trainPairs.seconds[i]]++;
  const pairs = trainPairs.seconds.length;
  for (let w = 0; w < vocabSize; w++) unigram[w] = (unigram[w] + 1) / (pairs + vocabSize);

  let unigramLoss = 0;
  let bigramLoss = 0;
  const counts = new Uint32Array(vocabSize);
  for (let v = 0; v < vocabSize; v++) {
    const targets = valPairs.seconds.subarray(valPairs.offsets[v], valPairs.offsets[v + 1]);
    if (targets.length === 0) continue;
    const followers = trainPairs.seconds.subarray(trainPairs.offsets[v], trainPairs.offsets[v + 1]);
    let distinct = 0;
    for (let i = 0; i < followers.length; i++) if (counts[followers[i]]++ === 0) distinct++;
    for (const w of targets) {
      const p = unigram[w];
      unigramLoss -= Math.log(p);
      // Σ_w c(v,w) = F(v) = 0 if v is unseen in the training tokens.
      const seen = followers.length + distinct;
      bigramLoss -= Math.log(seen === 0 ? p : (counts[w] + distinct * p) / seen);
    }
    for (let i = 0; i < followers.length; i++) counts[followers[i]] = 0;
  }
  return { unigram: unigramLoss / valPairs.seconds.length, bigram: bigramLoss / valPairs.seconds.length };
}

/** The second tokens of all pairs, grouped by the first: those after v are `seconds[offsets[v]]` to `seconds[offsets[v+1] - 1]`. */
interface Pairs {
  seconds: Uint16Array | Uint32Array;
  offsets: Uint32Array;
}

function groupPairs(source: TokenSource, vocabSize: number): Pairs {
  const offsets = new Uint32Array(vocabSize + 1);
  for (const block of blocks(source)) for (let i = 0; i + 1 < block.length; i++) offsets[block[i] + 1]++;
  for (let v = 0; v < vocabSize; v++) offsets[v + 1] += offsets[v];
  const seconds =
    vocabSize <= 2 ** 16 ? new Uint16Array(offsets[vocabSize]) : new Uint32Array(offsets[vocabSize]);
  const next = offsets.slice();
  for (const block of blocks(source)) {
    for (let i = 0; i + 1 < block.length; i++) seconds[next[block[i]]++] = block[i + 1];
  }
  return { seconds, offsets };
}

/** Blocks of up to BLOCK + 1 tokens. Adjacent blocks overlap by one token, so that every pair occurs exactly once. */
function* blocks(source: TokenSource): Generator<Int32Array> {
  const buffer = new Int32Array(BLOCK + 1);
  const stride = BLOCK * Math.max(1, Math.ceil((source.length - 1) / MAX_PAIRS));
  for (let start = 0; start + 1 < source.length; start += stride) {
    const block = buffer.subarray(0, Math.min(buffer.length, source.length - start));
    source.read(start, block);
    yield block;
  }
}
