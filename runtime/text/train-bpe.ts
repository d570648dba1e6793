import { ReflowError } from "../common/errors.ts";
import { ALPHABET, BYTE_ORDER } from "./byte-level.ts";
import { pretokenEnd } from "./pretokenize.ts";
import { PriorityQueue } from "./priority-queue.ts";
import { Tokenizer } from "./tokenizer.ts";
import { END_OF_TEXT, MAX_MERGES, type Merge } from "./tokenizer-json.ts";
import { WordTable } from "./word-table.ts";

export interface TrainBpeOptions {
  /** Called after each new token, with the current and the target size of the vocabulary. */
  onProgress?(done: number, total: number): void;
}

/** The smallest vocabulary: 256 bytes and `<|endoftext|>`. */
const MIN_VOCAB = ALPHABET.length + 1;

interface Word {
  bytes: Uint8Array;
  count: number;
}

/** A pair of neighbouring tokens and its number of occurrences. */
interface Pair {
  left: number;
  right: number;
  count: number;
  /** Positions of the left token when the pair arose; the token may have been merged with another since. */
  positions: number[];
}

/**
 * Trains byte-level BPE (Sennrich et al. 2016): the most frequent pair of neighbours within words becomes a token,
 * until there are `vocabSize` tokens or no pairs. Among equally frequent pairs, the one with the lowest left id is merged,
 * then the lowest right id. The result therefore does not depend on the order of the texts. It is the tokenizer that
 * Hugging Face's `BpeTrainer` trains with GPT-2's alphabet, except for the id of `<|endoftext|>`.
 *
 * Ids are the 256 bytes as in GPT-2, then merged tokens in order of creation, and `<|endoftext|>` last.
 *
 * @param texts documents; `<|endoftext|>` in them is ordinary text
 * @param vocabSize includes `<|endoftext|>`; at least 257. The tokenizer is smaller if no pairs are left
 * @throws ReflowError `config` for an impossible `vocabSize`
 *
 * @example
 * const tokenizer = trainBpe(["low low low", "lower lowest"], 260);
 * tokenizer.tokenText(257); // "low"
 */
export function trainBpe(
  texts: Iterable<string>,
  vocabSize: number,
  { onProgress }: TrainBpeOptions = {},
): Tokenizer {
  if (!(Number.isInteger(vocabSize) && vocabSize >= MIN_VOCAB && vocabSize <= MAX_MERGES)) {
    throw new ReflowError(
      "config",
      `a vocabulary of ${vocabSize} tokens is impossible`,
      `use a whole number from ${MIN_VOCAB} (256 bytes and ${END_OF_TEXT}) to ${MAX_MERGES}`,
    );
  }
  const tokens = [...ALPHABET];
  const merges: Merge[] = [];
  const words = new Words(countWords(texts));
  const queue = new PriorityQueue<{ pair: Pair; count: number }>(
    (a, b) =>
      a.count > b.count ||
      (a.count === b.count &&
        (a.pair.left < b.pair.left || (a.pair.left === b.pair.left && a.pair.right < b.pair.right))),
  );
  const offer = (pair: Pair) => {
    if (pair.count > 0) queue.push({ pair, count: pair.count });
  };
  for (const pair of words.pairs()) offer(pair);

  while (tokens.length < vocabSize - 1) {
    const best = queue.pop();
    if (!best) break;
    const { pair, count } = best;
    if (pair.count !== count) {
      // Other merges have removed occurrences since the pair was offered.
      offer(pair);
      continue;
    }
    // No earlier merge produced this text: at each of its occurrences the same merges were applied in the same order.
    const result = tokens.length;
    tokens.push(tokens[pair.left] + tokens[pair.right]);
    merges.push({ left: pair.left, right: pair.right, result });
    for (const created of words.merge(pair, result)) offer(created);
    onProgress?.(tokens.length + 1, vocabSize);
  }
  return new Tokenizer({ tokens: [...tokens, END_OF_TEXT], merges });
}

/** The distinct words of the texts, as bytes, and the number of occurrences of each. */
function countWords(texts: Iterable<string>): Word[] {
  const table = new WordTable();
  const counts: number[] = [];
  for (const text of texts) {
    for (let start = 0; start < text.length; ) {
      const end = pretokenEnd(text, start);
      const word = table.add(text, start, end);
      counts[word] = (counts[word] ?? 0) + 1;
      start = end;
    }
  }
  const encoder = new TextEncoder();
  return counts.map((count, word) => ({ bytes: encoder.encode(table.text(word)), count }));
}

/** Ids are below this, and a pair of them below 2^52. */
const LEFT = 2 ** 26;

/**
 * The distinct words as one linked list of tokens, and the pairs in it. A merge visits only the positions of its pair, so a
 * single long word costs no more than short words of the same total length.
 */
class Words {
  /** For each byte position: the token that begins there, or -1. */
  readonly #ids: Int32Array;
  /** The positions of a token's neighbours, or -1 at the ends of its word. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Number of occurrences of the word at each position. */
  readonly #counts: Int32Array;
  readonly #pairs = new Map<number, Pair>();

  constructor(words: readonly Word[]) {
    const n = words.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#ids = new Int32Array(n);
    this.#next = Int32Array.from({ length: n }, (_, i) => i + 1);
    this.#previous = Int32Array.from({ length: n }, (_, i) => i - 1);
    this.#counts = new Int32Array(n);
    const idOfByte = new Uint8Array(256);
    BYTE_ORDER.forEach((byte, id) => {
      idOfByte[byte] = id;
    });
    let start = 0;
    for (const { bytes, count } of words) {
      const end = start + bytes.length;
      this.#ids.set(
        bytes.map((byte) => idOfByte[byte]),
        start,
      );
      this.#counts.fill(count, start, end);
      this.#previous[start] = -1;
      this.#next[end - 1] = -1;
      start = end;
    }
    for (let i = 0; i < n; i++) if (this.#next[i] >= 0) this.#add(i);
  }

  pairs(): Iterable<Pair> {
    return this.#pairs.values();
  }

  /** Merges every occurrence of the pair into one token. Returns the pairs that arise. */
  merge(pair: Pair, result: number): Set<Pair> {
    const { left, right, positions } = pair;
    const created = new Set<Pair>();
    this.#pairs.delete(left * LEFT + right);
    pair.count = 0;
    // Positions are in order, so that in "aaa" the first two are merged.
    for (const i of positions) {
      const j = this.#next[i];
      if (this.#ids[i] !== left || this.#ids[j] !== right) continue;
      const before = this.#previous[i];
      const after = this.#next[j];
      if (before >= 0) this.#subtract(before);
      if (after >= 0) this.#subtract(j);
      this.#ids[i] = result;
      this.#ids[j] = -1;
      this.#next[i] = after;
      if (after >= 0) this.#previous[after] = i;
      if (before >= 0) created.add(this.#add(before));
      if (after >= 0) created.add(this.#add(i));
    }
    return created;
  }

  #keyAt(position: number): number {
    return this.#ids[position] * LEFT + this.#ids[this.#next[position]];
  }

  /** Adds an occurrence of the pair whose left token is at a position. */
  #add(position: number): Pair {
    const key = this.#keyAt(position);
    let pair = this.#pairs.get(key);
    if (!pair) {
      pair = { left: this.#ids[position], right: this.#ids[this.#next[position]], count: 0, positions: [] };
      this.#pairs.set(key, pair);
    }
    pair.count += this.#counts[position];
    pair.positions.push(position);
    return pair;
  }

  #subtract(position: number): void {
    const key = this.#keyAt(position);
    const pair = this.#pairs.get(key);
    if (!pair) return; // the pair that is being merged, in "aaa"
    pair.count -= this.#counts[position];
    if (pair.count === 0) this.#pairs.delete(key); // frees its positions
  }
}
