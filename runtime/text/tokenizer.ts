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
   * Read `<|endoftext|>` in the text as the special token, as Hugging Face's `tokenizers` does. Without it, text is
   * only text, whoever wrote it, and no encoding has {@link Tokenizer.endOfText} in it.
   */
  allowSpecial?: boolean;
}

/** Text from a stream of ids; a character whose last bytes haven't come yet is held back. */
export interface StreamingDecoder {
  /** What can be said once this id is known; often a word, sometimes nothing. */
  push(id: number): string;
  /** What is held back, U+FFFD by now. The decoder is then as new. */
  end(): string;
}

/** As many words are remembered, then forgotten all at once: 16 MB of English have fewer. */
const CACHE_WORDS = 2 ** 17;
const CACHE_WORD_LENGTH = 64;

/** A rank is above a position in one number; 32 bits are for the position. */
const RANK = 2 ** 32;

const encoder = new TextEncoder();
const newDecoder = () => new TextDecoder("utf-8", { ignoreBOM: true });
const decoder = newDecoder();

/**
 * Byte-level BPE as GPT-2 has it (Radford et al. 2019; Sennrich et al. 2016), in Hugging Face's `tokenizer.json`.
 *
 * `decode(encode(text))` is `text` for every well-formed string. A lone surrogate is encoded as U+FFFD is, and bytes
 * that aren't UTF-8 are decoded to U+FFFD. Time is linear in ordinary text and n·log n in one endless word.
 *
 * @example
 * const tokenizer = Tokenizer.fromJSON(JSON.parse(await readFile("tokenizer.json", "utf8")));
 * const ids = tokenizer.encode("Once upon a time");
 * tokenizer.decode(ids); // "Once upon a time"
 */
export class Tokenizer {
  /** The id of `<|endoftext|>`, which stands between documents. */
  readonly endOfText: number;

  readonly #vocabulary: Vocabulary;
  readonly #idOf: Map<string, number>;
  /** Token i's bytes are #bytes[#offsets[i]] to #bytes[#offsets[i + 1] - 1]. */
  readonly #bytes: Uint8Array;
  readonly #offsets: Int32Array;
  /** Bytes of the longest token: more of a text than so many times n is more than n tokens. */
  readonly longest: number;
  /** The id of each single byte. */
  readonly #byteIds: Int32Array;
  /** The rank of a merge, by left·vocabSize + right. */
  readonly #ranks: Map<number, number>;
  /** The words met lately, and the ids of each. */
  #words = new WordTable();
  #wordIds: (readonly number[])[] = [];

  /** Takes a vocabulary that is known to be sound; {@link Tokenizer.fromJSON} takes any. */
  constructor(vocabulary: Vocabulary) {
    const { tokens, merges } = vocabulary;
    this.#vocabulary = vocabulary;
    this.#idOf = new Map(tokens.map((token, id) => [token, id]));
    this.endOfText = this.#idOf.get(END_OF_TEXT)!;
    // In the byte alphabet, a character is a byte.
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
   * @param where what errors call the file
   * @throws ReflowError `format` naming the field, also for pre-tokenizers, normalizers and options that are not
   *   GPT-2's: their texts would be tokenized wrongly
   */
  static fromJSON(json: unknown, where = "tokenizer.json"): Tokenizer {
    return new Tokenizer(parseVocabulary(json, where));
  }

  /** A `tokenizer.json` that Hugging Face's `tokenizers` loads as it is; what `JSON.stringify(tokenizer)` writes. */
  toJSON(): TokenizerJson {
    const { tokens, merges } = this.#vocabulary;
    return toTokenizerJson(
      Object.fromEntries(this.#idOf),
      merges.map(({ left, right }) => `${tokens[left]} ${tokens[right]}`),
    );
  }

  /** How many tokens there are, `<|endoftext|>` among them. */
  get vocabSize(): number {
    return this.#vocabulary.tokens.length;
  }

  /** The ids of a text, and nothing before or after them. */
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

  /** @throws ReflowError `data` for an id that is not in the vocabulary */
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

  /** For text as it is generated: what `push` and `end` return adds up to `decode` of all the ids. */
  decoder(): StreamingDecoder {
    const utf8 = newDecoder();
    return {
      push: (id) => utf8.decode(this.#bytesOf(id), { stream: true }),
      end: () => utf8.decode(),
    };
  }

  /** A token's bytes, which may be a part of a character. @throws ReflowError `data` as {@link Tokenizer.decode} */
  tokenBytes(id: number): Uint8Array {
    return this.#bytesOf(id).slice();
  }

  /** A token as text; a part of a character is U+FFFD. @throws ReflowError `data` as {@link Tokenizer.decode} */
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
      `ids are 0 to ${this.vocabSize - 1}; use the tokenizer that the ids were made with`,
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
   * One word's bytes to ids. Neighbours are merged by rank, the leftmost of equals first, in a linked list with a heap
   * of the pairs that may be merged.
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
    const heap = new PriorityQueue<number>((a, b) => a < b);
    const offer = (i: number) => {
      if (i < 0 || next[i] === n) return;
      const rank = this.#ranks.get(ids[i] * this.vocabSize + ids[next[i]]);
      if (rank !== undefined) heap.push(rank * RANK + i);
    };
    for (let i = 0; i < n; i++) offer(i);
    for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
      const { left, right, result } = merges[Math.floor(top / RANK)];
      const i = top % RANK;
      const j = next[i];
      // Either of the pair may have been merged with another neighbour since.
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
