import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";
import { ALPHABET, isByteLevel } from "./byte-level.ts";

/** The only special token: it separates documents. */
export const END_OF_TEXT = "<|endoftext|>";

/** The tokens and merges of a byte-level BPE tokenizer. */
export interface Vocabulary {
  /** Texts in the byte alphabet, by id; all single bytes and {@link END_OF_TEXT} are among them. */
  readonly tokens: readonly string[];
  /** In order of rank. */
  readonly merges: readonly Merge[];
}

/** Two neighbouring tokens are merged into one; all three are ids. */
export interface Merge {
  readonly left: number;
  readonly right: number;
  readonly result: number;
}

/** Limit so that a rank and a position fit into the 53 bits of a number. */
export const MAX_MERGES = 2 ** 21;

const nothing = (help: string) => v.nullish(v.null(help));
const no = (help: string) => v.optional(v.literal(false, help));
const unset = (help: string) => v.nullish(v.literal("", help));
const byteLevel = (part: string) => v.literal("ByteLevel", `only a ByteLevel ${part} is supported`);

/**
 * The subset of Hugging Face's format that byte-level BPE needs. Unsupported settings that would change the ids are
 * rejected; settings that do not affect the ids (a ByteLevel post_processor, `unk_token`, `trim_offsets`, …) are ignored.
 */
const schema = v.object({
  truncation: nothing("save it without truncation"),
  padding: nothing("save it without padding"),
  added_tokens: v.pipe(
    v.array(
      v.object({
        id: v.number(),
        content: v.literal(END_OF_TEXT, `${END_OF_TEXT} is the only added token that is supported`),
        single_word: no("only single_word false is supported"),
        lstrip: no("only lstrip false is supported"),
        rstrip: no("only rstrip false is supported"),
      }),
    ),
    v.length(1, `exactly one added token is supported, ${END_OF_TEXT}`),
  ),
  normalizer: nothing("only tokenizers without a normalizer are supported"),
  pre_tokenizer: v.object({
    type: byteLevel("pre_tokenizer"),
    add_prefix_space: v.literal(false, "only add_prefix_space false is supported"),
    use_regex: v.optional(v.literal(true, "only use_regex true is supported")),
  }),
  post_processor: v.nullish(v.object({ type: byteLevel("post_processor") })),
  decoder: v.object({ type: byteLevel("decoder") }),
  model: v.object({
    type: v.optional(v.literal("BPE", "only models of type BPE are supported")),
    dropout: nothing("dropout is not supported"),
    continuing_subword_prefix: unset("prefixes are not supported"),
    end_of_word_suffix: unset("suffixes are not supported"),
    ignore_merges: no("only ignore_merges false is supported"),
    // Not v.record: it leaves out "__proto__", "constructor" and "prototype", which is a token of GPT-2.
    vocab: v.custom<Record<string, unknown>>(
      (x) => typeof x === "object" && x !== null && !Array.isArray(x),
      "expected an object from tokens to ids",
    ),
    merges: v.pipe(v.array(v.unknown()), v.maxLength(MAX_MERGES, `at most ${MAX_MERGES} are supported`)),
  }),
});

/**
 * Reads the contents of a `tokenizer.json`.
 *
 * @throws ReflowError `format` naming the field
 */
export function parseVocabulary(json: unknown, where: string): Vocabulary {
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const issue = result.issues[0];
    const field = issue.path?.map((part) => String(part.key)).join(".") ?? "the whole file";
    throw wrong(
      where,
      field,
      `expected ${issue.expected ?? "something else"}, found ${short(issue.received)}`,
      issue.message,
    );
  }
  const { added_tokens, model } = result.output;
  const idOf = new Map(Object.entries(model.vocab)).set(added_tokens[0].content, added_tokens[0].id);
  const tokens = parseTokens(idOf, where);
  return { tokens, merges: parseMerges(model.merges, idOf as Map<string, number>, where) };
}

/** The tokens by id. Checks that the ids are 0 to n-1, and that every text can be encoded. */
function parseTokens(idOf: ReadonlyMap<string, unknown>, where: string): string[] {
  const n = idOf.size;
  const tokens: string[] = [];
  for (const [token, id] of idOf) {
    const bad = (message: string, help: string) =>
      wrong(where, `model.vocab[${quoted(token)}]`, message, help);
    if (!(typeof id === "number" && Number.isInteger(id) && id >= 0 && id < n)) {
      throw bad(`the id is ${quoted(id)}`, `the ids of ${n} tokens must be 0 to ${n - 1}`);
    }
    if (tokens[id] !== undefined)
      throw bad(`the id ${id} is also that of ${quoted(tokens[id])}`, "give each token its own id");
    if (token === "" || !isByteLevel(token)) {
      throw bad("the token is not in GPT-2's byte alphabet", "write a space as Ġ, for example");
    }
    tokens[id] = token;
  }
  const missing = ALPHABET.find((character) => !idOf.has(character));
  if (missing)
    throw wrong(where, "model.vocab", `${missing} is missing`, "each of the 256 bytes needs a token");
  return tokens;
}

function parseMerges(merges: readonly unknown[], idOf: ReadonlyMap<unknown, number>, where: string): Merge[] {
  const seen = new Set<number>();
  return merges.map((merge, rank) => {
    const bad = (message: string, help: string) => wrong(where, `model.merges[${rank}]`, message, help);
    const pair: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw bad(`found ${quoted(merge)}`, 'expected "left right" or ["left", "right"]');
    }
    const left = idOf.get(pair[0]);
    const right = idOf.get(pair[1]);
    const result = idOf.get(`${pair[0]}${pair[1]}`);
    if (left === undefined || right === undefined || result === undefined) {
      throw bad(
        `${quoted(merge)} refers to an unknown token`,
        "both parts and their concatenation must be in model.vocab",
      );
    }
    const key = left * idOf.size + right;
    if (seen.has(key)) throw bad(`${quoted(merge)} occurs twice`, "remove the second");
    seen.add(key);
    return { left, right, result };
  });
}

const wrong = (where: string, field: string, message: string, help: string) =>
  new ReflowError("format", `${where}: ${field}: ${message}`, help);

/** Shortens a value for an error: it may be megabytes long. */
const short = (text: string) => (text.length > 60 ? `${text.slice(0, 60)}…` : text);
const quoted = (value: unknown) => short(JSON.stringify(value) ?? String(value));

/** A `tokenizer.json` that Hugging Face's `tokenizers` loads, including older versions. */
export function toTokenizerJson(vocab: Record<string, number>, merges: readonly string[]) {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: vocab[END_OF_TEXT],
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
}

export type TokenizerJson = ReturnType<typeof toTokenizerJson>;
