import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { cacheDirectory, wrapFileErrors } from "../../runtime/host/files.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { defaultCorpus } from "./default-corpus.ts";
import { documentFiles } from "./documents.ts";
import {
  isPrepared,
  openPrepared,
  type Prepared,
  preparedKey,
  type TextInput,
  writePrepared,
} from "./prepare.ts";
import { openTokens, sliceTokens, type TokenSource } from "./shards.ts";
import { heldOutSize } from "./split.ts";
import { type Progress, requireVocabularyFits, resolveTokenizer } from "./tokenizer-flag.ts";

export interface LoadOptions {
  /** A text or JSONL file, a folder of .txt, a folder of prepared tokens, a `.bin` file or a folder of them. Default: the default corpus. */
  data?: string;
  /** The same kinds. Default: the validation files beside `data`, or else about 1% at its end. */
  val?: string;
  /** `FILE|gpt2|bpe:N`. Default for text: `gpt2` if it fits the vocabulary, or else `bpe:` with the vocabulary's size. */
  tokenizer?: string;
  /** Vocabulary size of the model. */
  vocabSize: number;
  cacheDir?: string;
  onProgress?: Progress;
}

export interface Data {
  train: TokenSource;
  val: TokenSource;
  /** Undefined for `.bin` files without `--tokenizer`. */
  tokenizer: Tokenizer | undefined;
  /** UTF-8 bytes per token of the validation text, for bits per byte; undefined without a tokenizer. */
  bytesPerToken: number | undefined;
  /** A line for the user. */
  description: string;
}

/**
 * Loads the data of `--data`, `--val` and `--tokenizer` as tokens. Text is tokenized once, and the tokens are cached.
 *
 * @throws ReflowError naming the flag in error, the position, and the expected value
 *
 * @example
 * const { train, val, tokenizer } = await loadData({ data: "corpus/train", vocabSize: 8192 });
 */
export async function loadData(options: LoadOptions): Promise<Data> {
  const { data, val, vocabSize } = options;
  if (data !== undefined && isTokens(data)) return loadTokens(data, options);
  if (val !== undefined && isTokens(val)) {
    throw new ReflowError(
      "usage",
      `--val ${val} contains tokens, but --data contains text`,
      "pass text in both, or tokens in both",
    );
  }
  const corpus = data === undefined ? await fetchCorpus(options) : { train: documentFiles(data) };
  const input = {
    ...corpus,
    ...(val !== undefined && { val: documentFiles(val) }),
    tokenizer: options.tokenizer ?? (vocabSize >= GPT2_TOKENS ? "gpt2" : `bpe:${vocabSize}`),
  };
  const { meta, ...prepared } = await prepareCached(input, options);
  requireVocabularyFits(meta.vocabSize, vocabSize);
  return describe(data ?? "State of the Union addresses", prepared);
}

const GPT2_TOKENS = 50257;

function fetchCorpus({ cacheDir, onProgress }: LoadOptions) {
  return defaultCorpus({ cacheDir, onProgress: (done, of) => onProgress?.("download", done, of) });
}

async function prepareCached(input: TextInput, options: LoadOptions): Promise<Prepared> {
  const folder = join(options.cacheDir ?? cacheDirectory(), "tokens", preparedKey(input));
  try {
    return openPrepared(folder);
  } catch (error) {
    // A missing or broken cache entry is written again.
    if (!(error instanceof ReflowError)) throw error;
  }
  await writePrepared(input, folder, options);
  return openPrepared(folder);
}

type Opened = Pick<Data, "train" | "tokenizer"> & { val?: TokenSource };

async function loadTokens(path: string, options: LoadOptions): Promise<Data> {
  const { tokenizer: flag, val: valPath, vocabSize } = options;
  const given = flag === undefined ? undefined : await resolveTokenizer(flag, undefined, options);
  const ids = Math.min(vocabSize, given?.vocabSize ?? vocabSize);
  const opened = openTokenPath(path, ids);
  const other = valPath === undefined ? undefined : openTokenPath(valPath, ids);
  const tokenizers = [opened.tokenizer, other?.tokenizer, given].filter(
    (tokenizer) => tokenizer !== undefined,
  );
  if (new Set(tokenizers.map((tokenizer) => JSON.stringify(tokenizer))).size > 1) {
    throw new ReflowError(
      "usage",
      `${path} was not made with the tokenizer of ${given ? `--tokenizer ${flag}` : `--val ${valPath}`}`,
      "omit the flag, or prepare the data again",
    );
  }
  const tokenizer = tokenizers.at(0);
  if (tokenizer) requireVocabularyFits(tokenizer.vocabSize, vocabSize);
  const val = other && (other.val ?? other.train);
  return describe(path, { ...holdOut(opened.train, val ?? opened.val), tokenizer });
}

function isTokens(path: string): boolean {
  if (!wrapFileErrors(path, () => statSync(path)).isDirectory()) return path.endsWith(".bin");
  return isPrepared(path) || readdirSync(path).some((name) => name.endsWith(".bin"));
}

function openTokenPath(path: string, vocabSize: number): Opened {
  if (!isTokens(path)) {
    throw new ReflowError(
      "usage",
      `--val ${path} contains text, but --data contains tokens`,
      "pass text in both, or tokens in both",
    );
  }
  if (isPrepared(path)) return openPrepared(path);
  const { train, val } = binFiles(path);
  const open = (files: string[]) => openTokens(files, { vocabSize });
  return { train: open(train), val: val.length > 0 ? open(val) : undefined, tokenizer: undefined };
}

/**
 * Assigns `.bin` files to the splits by the naming of nanoGPT and llm.c: `train.bin`, `tiny_shakespeare_val.bin`,
 * `fineweb_train_000001.bin`. The validation data of a single file are the files beside it with the same name, except for
 * `val` in place of `train`. If no file in a folder is named after the training split, all are training data.
 */
function binFiles(path: string): { train: string[]; val: string[] } {
  const named = (names: string[], split: string) =>
    names.filter((name) => new RegExp(`(^|[_-])${split}([_-]\\w+)?\\.bin$`).test(name));
  const list = (folder: string) =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".bin"))
      .sort();
  const within = (folder: string, names: string[]) => names.map((name) => join(folder, name));
  if (statSync(path).isDirectory()) {
    const names = list(path);
    const [train, val] = [named(names, "train"), named(names, "val")];
    if (train.length > 0) return { train: within(path, train), val: within(path, val) };
    return { train: within(path, val.length > 0 ? val : names), val: [] };
  }
  const name = basename(path);
  const prefix = name.slice(0, name.lastIndexOf("train"));
  const beside = named([name], "train").length > 0 ? named(list(dirname(path)), "val") : [];
  return {
    train: [path],
    val: within(
      dirname(path),
      beside.filter((other) => other.startsWith(`${prefix}val`)),
    ),
  };
}

/** Without other validation data, holds out the last tokens of the training data. */
function holdOut(train: TokenSource, val: TokenSource | undefined): Pick<Data, "train" | "val"> {
  if (val) return { train, val };
  const rest = train.length - heldOutSize(train.length, MIN_HELD_OUT_TOKENS);
  return { train: sliceTokens(train, 0, rest), val: sliceTokens(train, rest, train.length - rest) };
}

const MIN_HELD_OUT_TOKENS = 1 << 14;

function describe(name: string, { train, val, tokenizer }: Pick<Data, "train" | "val" | "tokenizer">): Data {
  const number = (n: number) => n.toLocaleString("en");
  const sizes = `${number(train.length)} training tokens, ${number(val.length)} validation tokens`;
  const vocabulary = tokenizer ? `vocabulary of ${number(tokenizer.vocabSize)}` : "no tokenizer";
  return {
    train,
    val,
    tokenizer,
    bytesPerToken: tokenizer && bytesPerToken(val, tokenizer),
    description: `${name}: ${sizes}, ${vocabulary}`,
  };
}

/** The largest number of tokens measured. */
const MAX_MEASURED_TOKENS = 1 << 22;
const BLOCK = 1 << 16;

/** UTF-8 bytes per token. The separator between documents counts as a token, but not as text. */
function bytesPerToken(val: TokenSource, tokenizer: Tokenizer): number {
  const lengths = Int32Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    id === tokenizer.endOfText ? 0 : tokenizer.tokenBytes(id).length,
  );
  const tokens = Math.min(val.length, MAX_MEASURED_TOKENS);
  const block = new Int32Array(BLOCK);
  let bytes = 0;
  for (let start = 0; start < tokens; start += BLOCK) {
    const ids = block.subarray(0, Math.min(BLOCK, tokens - start));
    val.read(start, ids);
    for (const id of ids) bytes += lengths[id];
  }
  return bytes / tokens;
}
