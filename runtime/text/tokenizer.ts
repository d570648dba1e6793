import { ReflowError } from "../common/errors.ts";
import { ALPHABET, BYTE_ORDER, fromByteLevel, toByteLevel } from "./byte-level.ts";
import { pretokenEnd } from "./pretokenize.ts";
import { PriorityQueue } from "./priority-queue.ts";
import {
  END_OF_TEXT,
  parseVocabulary,
  type TokenizerJson,
  toTokenizerJson,
  type Vocabulary,
} from "./tokenizer-json.ts";
import { WordTable } from "./word-table.ts";

export interface EncodeOptions {
  /**
   * Read `<|endoftext|>` in the text as the special token, as Hugging Face's `tokenizers` does. Default: false, so that
   * untrusted text never encodes to {@link Tokenizer.endOfText}.
   */
  allowSpecial?: boolean;
}

/** Decodes a stream of ids. An incomplete character is held back until its last bytes arrive. */
export interface StreamingDecoder {
  /** The text that this id completes; often a word, sometimes empty. */
  push(id: number): string;
  /** Returns U+FFFD for an incomplete character that was held back, and resets the decoder. */
  end(): string;
}

/** Number of cached words, after which the cache is cleared: 16 MB of English have fewer. */
const CACHE_WORDS = 2 ** 17;
const CACHE_WORD_LENGTH = 64;

/** Queue entries are rank · 2^32 + position. */
const RANK = 2 ** 32;

const encoder = new TextEncoder();
const newDecoder = () => new TextDecoder("utf-8", { ignoreBOM: true });
const decoder = newDecoder();

/**
 * Byte-level BPE as in GPT-2 (Radford et al. 2019; Sennrich et al. 2016), in Hugging Face's `tokenizer.json` format.
 *
 * `decode(encode(text))` is `text` for every well-formed string. A lone surrogate is encoded like U+FFFD, and bytes that
 * are not UTF-8 are decoded to U+FFFD. Encoding is linear in ordinary text, and n·log n in a single long word.
 *
 * @example
 * const tokenizer = Tokenizer.fromJSON(JSON.parse(await readFile("tokenizer.json", "utf8")));
 * const ids = tokenizer.encode("Once upon a time");
 * tokenizer.decode(ids); // "Once upon a time"
 */
export class Tokenizer {
  /** The id of `<|endoftext|>`, which separates documents. */
  readonly endOfText: number;

  readonly #vocabulary: Vocabulary;
  readonly #idOf: Map<string, number>;
  /** Token i's bytes are #bytes[#offsets[i]] to #bytes[#offsets[i + 1] - 1]. */
  readonly #bytes: Uint8Array;
  readonly #offsets: Int32Array;
  /** Bytes of the longest token: a text of more than n times as many bytes has more than n tokens. */
  readonly longest: number;
  /** The id of each single byte. */
  readonly #byteIds: Int32Array;
  /** The rank of a merge, by left·vocabSize + right. */
  readonly #ranks: Map<number, number>;
  /** Cache of words and the ids of each. */
  #words = new WordTable();
  #wordIds: (readonly number[])[] = [];

  /** Requires a valid vocabulary; {@link Tokenizer.fromJSON} validates. */
  constructor(vocabulary: Vocabulary) {
    const { tokens, merges } = vocabulary;
    this.#vocabulary = vocabulary;
    this.#idOf = new Map(tokens.map((token, id) => [token, id]));
    this.endOfText = this.#idOf.get(END_OF_TEXT)!;
    // In the byte alphabet, each character is one byte.
    this.#bytes = fromByteLevel(tokens.join(""));
    this.#offsets = new Int32Array(tokens.length + 1);
    for (let id = 0; id < tokens.length; id++) this.#offsets[id + 1] = this.#offsets[id] + tokens[id].length;
    this.longest = tokens.reduce((most, token) => Math.max(most, token.length), 0);
    this.#byteIds = new Int32Array(256);
    BYTE_ORDER.forEach((byte, i) => {
      this.#byteIds[byte] = this.#idOf.get(ALPHABET[i])!;
    });
    this.#ranks = new Map(merges.map(({ left, right }, rank) => [left * tokens.length + right, rank]));
  }

  /**
   * Reads the contents of a `tokenizer.json`. Merges may be `"a b"` or `["a", "b"]`.
   *
   * @param where name of the file in errors
   * @throws ReflowError `format` naming the field, also for pre-tokenizers, normalizers and options other than GPT-2's:
   *   text would be tokenized incorrectly
   */
  static fromJSON(json: unknown, where = "tokenizer.json"): Tokenizer {
    return new Tokenizer(parseVocabulary(json, where));
  }

  /** The contents of a `tokenizer.json` that Hugging Face's `tokenizers` loads; used by `JSON.stringify(tokenizer)`. */
  toJSON(): TokenizerJson {
    const { tokens, merges } = this.#vocabulary;
    return toTokenizerJson(
      Object.fromEntries(this.#idOf),
      merges.map(({ left, right }) => `${tokens[left]} ${tokens[right]}`),
    );
  }

  /** Number of tokens, including `<|endoftext|>`. */
  get vocabSize(): number {
    return this.#vocabulary.tokens.length;
  }

  /** The ids of a text, without any token added before or after. */
  encode(text: string, { allowSpecial = false }: EncodeOptions = {}): Int32Array {
    const ids: number[] = [];
    const documents = allowSpecial ? text.split(END_OF_TEXT) : [text];
    for (const [i, document] of documents.entries()) {
      if (i > 0) ids.push(this.endOfText);
      for (let start = 0; start < document.length; ) {
        const end = pretokenEnd(document, start);
        for (const id of this.#encodeWord(document, start, end)) ids.push(id);
        start = end;
      }
    }
    return Int32Array.from(ids);
  }

  /** The text of ids. @throws ReflowError `data` for an id that is not in the vocabulary */
  decode(ids: ArrayLike<number>): string {
    let length = 0;
    for (let i = 0; i < ids.length; i++) {
      this.#check(ids[i]);
      length += this.#offsets[ids[i] + 1] - this.#offsets[ids[i]];
    }
    const bytes = new Uint8Array(length);
    for (let i = 0, at = 0; i < ids.length; i++) {
      for (let j = this.#offsets[ids[i]]; j < this.#offsets[ids[i] + 1]; j++) bytes[at++] = this.#bytes[j];
    }
    return decoder.decode(bytes);
  }

  /** For text that is being generated: the results of `push` and `end` concatenate to `decode` of all ids. */
  decoder(): StreamingDecoder {
    const utf8 = newDecoder();
    return {
      push: (id) => utf8.decode(this.#bytesOf(id), { stream: true }),
      end: () => utf8.decode(),
    };
  }

  /** A token's bytes, which may be part of a character. @throws ReflowError `data` as {@link Tokenizer.decode} */
  tokenBytes(id: number): Uint8Array {
    return this.#bytesOf(id).slice();
  }

  /** A token as text; part of a character becomes U+FFFD. @throws ReflowError `data` as {@link Tokenizer.decode} */
  tokenText(id: number): string {
    return decoder.decode(this.#bytesOf(id));
  }

  /** The single token for a text, if there is one: `tokenId(" king")`. `tokenId("<|endoftext|>")` is `endOfText`. */
  tokenId(text: string): number | undefined {
    return this.#idOf.get(toByteLevel(encoder.encode(text)));
  }

  #bytesOf(id: number): Uint8Array {
    this.#check(id);
    return this.#bytes.subarray(this.#offsets[id], this.#offsets[id + 1]);
  }

  #check(id: number): void {
    if (Number.isInteger(id) && id >= 0 && id < this.vocabSize) return;
    throw new ReflowError(
      "data",
      `token id ${id} is not in the vocabulary`,
      `expected 0 to ${this.vocabSize - 1}; use the tokenizer that created the ids`,
    );
  }

  /** The ids of the word from `start` to `end`. */
  #encodeWord(text: string, start: number, end: number): readonly number[] {
    if (end - start > CACHE_WORD_LENGTH) return this.#merge(encoder.encode(text.slice(start, end)));
    if (this.#words.size === CACHE_WORDS) {
      this.#words = new WordTable();
      this.#wordIds = [];
    }
    const word = this.#words.add(text, start, end);
    this.#wordIds[word] ??= this.#merge(encoder.encode(text.slice(start, end)));
    return this.#wordIds[word];
  }

  /**
   * The ids of a word's bytes. Neighbours are merged in order of rank, the leftmost of equal ranks first, in a linked list
   * with a priority queue of candidate pairs.
   */
  #merge(bytes: Uint8Array): readonly number[] {
    const { merges } = this.#vocabulary;
    const n = bytes.length;
    const ids: number[] = [];
    const next = new Int32Array(n);
    const previous = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      ids.push(this.#byteIds[bytes[i]]);
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    const queue = new PriorityQueue<number>((a, b) => a < b);
    const offer = (i: number) => {
      if (i < 0 || next[i] === n) return;
      const rank = this.#ranks.get(ids[i] * this.vocabSize + ids[next[i]]);
      if (rank !== undefined) queue.push(rank * RANK + i);
    };
    for (let i = 0; i < n; i++) offer(i);
    for (let top = queue.pop(); top !== undefined; top = queue.pop()) {
      const { left, right, result } = merges[Math.floor(top / RANK)];
      const i = top % RANK;
      const j = next[i];
      // Either token may have been merged with another neighbour since.
      if (ids[i] !== left || ids[j] !== right) continue;
      ids[i] = result;
      ids[j] = -1;
      next[i] = next[j];
      if (next[i] < n) previous[next[i]] = i;
      offer(previous[i]);
      offer(i);
    }
    return ids.filter((id) => id >= 0);
  }
}
