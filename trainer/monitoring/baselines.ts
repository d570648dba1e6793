import type { TokenSource } from "../data/shards.ts";

export interface Baselines {
  /** Nats per token. */
  unigram: number;
  /** Nats per token. */
  bigram: number;
}

/** Bigrams counted at most. Of longer training data, blocks spread evenly are: 33.5 M tokens say as much. */
const MAX_PAIRS = 2 ** 25;
const BLOCK = 2 ** 16;

/**
 * The cross-entropy of validation tokens, from the second on, under counts of the training tokens: what a model must beat
 * to have learnt more than frequencies, and more than pairs. Nothing is fitted to the validation tokens.
 *
 * With c(v,w) the times w follows v in N pairs, c(w) = Σ_v c(v,w), and F(v) the number of different tokens after v:
 *
 *     p(w)   = (c(w) + 1) / (N + V)                          add-one
 *     p(w|v) = (c(v,w) + F(v)·p(w)) / (Σ_w c(v,w) + F(v))    Witten & Bell 1991; p(w) after a v never seen
 *
 * Pairs are counted by sorting them into their first token's bucket: two passes over the tokens and 2 or 4 bytes a
 * token, 64 MB at most while V ≤ 65536. 20 M tokens take about a second; in Bun, `for … of` over the typed arrays in place
 * of the loops below doubled that.
 */
export function baselines(train: TokenSource, val: TokenSource, vocabSize: number): Baselines {
  const known = groupPairs(train, vocabSize);
  const asked = groupPairs(val, vocabSize);
  const unigram = new Float64Array(vocabSize);
  for (let i = 0; i < known.seconds.length; i++) unigram[known.seconds[i]]++;
  const pairs = known.seconds.length;
  for (let w = 0; w < vocabSize; w++) unigram[w] = (unigram[w] + 1) / (pairs + vocabSize);

  let unigramLoss = 0;
  let bigramLoss = 0;
  const counts = new Uint32Array(vocabSize);
  for (let v = 0; v < vocabSize; v++) {
    const targets = asked.seconds.subarray(asked.offsets[v], asked.offsets[v + 1]);
    if (targets.length === 0) continue;
    const followers = known.seconds.subarray(known.offsets[v], known.offsets[v + 1]);
    let different = 0;
    for (let i = 0; i < followers.length; i++) if (counts[followers[i]]++ === 0) different++;
    for (const w of targets) {
      const p = unigram[w];
      unigramLoss -= Math.log(p);
      // c(v) = F(v) = 0 after a token that was never seen.
      const seen = followers.length + different;
      bigramLoss -= Math.log(seen === 0 ? p : (counts[w] + different * p) / seen);
    }
    for (let i = 0; i < followers.length; i++) counts[followers[i]] = 0;
  }
  return { unigram: unigramLoss / asked.seconds.length, bigram: bigramLoss / asked.seconds.length };
}

/** The second tokens of all pairs, ordered by the first: those after v are `seconds[offsets[v]]` to `[offsets[v+1] - 1]`. */
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

/** Blocks of up to BLOCK + 1 tokens, overlapping in one where they adjoin, so that no pair is lost or made up. */
function* blocks(source: TokenSource): Generator<Int32Array> {
  const buffer = new Int32Array(BLOCK + 1);
  const stride = BLOCK * Math.max(1, Math.ceil((source.length - 1) / MAX_PAIRS));
  for (let start = 0; start + 1 < source.length; start += stride) {
    const block = buffer.subarray(0, Math.min(buffer.length, source.length - start));
    source.read(start, block);
    yield block;
  }
}
