import { readdirSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { defaultCorpus } from "./default-corpus.ts";
import { documentFiles } from "./documents.ts";
import { asData, cacheDirectory } from "../../runtime/host/files.ts";
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
import { mustFit, type Progress, resolveTokenizer } from "./tokenizer-flag.ts";

export interface LoadOptions {
  /** Text file, JSONL, folder of .txt, folder of prepared tokens, `.bin` or a folder of them; the default corpus. */
  data?: string;
  /** The same. Without it: what lies beside `data`, or else about 1% at its end. */
  val?: string;
  /** `FILE|gpt2|bpe:N`. Without it, for text: `gpt2` where the vocabulary holds it, or else `bpe:` its size. */
  tokenizer?: string;
  /** The model's vocabulary. */
  vocabSize: number;
  cacheDir?: string;
  onProgress?: Progress;
}

export interface Data {
  train: TokenSource;
  val: TokenSource;
  /** Absent for `.bin` files without `--tokenizer`. */
  tokenizer: Tokenizer | undefined;
  /** UTF-8 bytes of the validation text per token, for bits per byte; absent where the tokenizer is. */
  bytesPerToken: number | undefined;
  /** One line for people. */
  description: string;
}

/**
 * Everything that `--data`, `--val` and `--tokenizer` say, as tokens. Text is tokenized once, into the cache.
 *
 * @throws ReflowError saying which of the three is wrong, where, and what to pass instead
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
      `--val ${val} is tokens, but --data is text`,
      "pass text in both, or tokens",
    );
  }
  const corpus = data === undefined ? await fetchCorpus(options) : { train: documentFiles(data) };
  const input = {
    ...corpus,
    ...(val !== undefined && { val: documentFiles(val) }),
    tokenizer: options.tokenizer ?? (vocabSize >= GPT2_TOKENS ? "gpt2" : `bpe:${vocabSize}`),
  };
  const { meta, ...prepared } = await prepareCached(input, options);
  mustFit(meta.vocabSize, vocabSize);
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
    // Not there yet, or broken: either way, it is made again.
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
      "leave the flag out, or prepare the data again",
    );
  }
  const tokenizer = tokenizers.at(0);
  if (tokenizer) mustFit(tokenizer.vocabSize, vocabSize);
  const val = other && (other.val ?? other.train);
  return describe(path, { ...holdOut(opened.train, val ?? opened.val), tokenizer });
}

function isTokens(path: string): boolean {
  if (!asData(path, () => statSync(path)).isDirectory()) return path.endsWith(".bin");
  return isPrepared(path) || readdirSync(path).some((name) => name.endsWith(".bin"));
}

function openTokenPath(path: string, vocabSize: number): Opened {
  if (!isTokens(path)) {
    throw new ReflowError(
      "usage",
      `--val ${path} is text, but --data is tokens`,
      "pass text in both, or tokens",
    );
  }
  if (isPrepared(path)) return openPrepared(path);
  const { train, val } = binFiles(path);
  const open = (files: string[]) => openTokens(files, { vocabSize });
  return { train: open(train), val: val.length > 0 ? open(val) : undefined, tokenizer: undefined };
}

/**
 * By the names that nanoGPT and llm.c give: `train.bin`, `tiny_shakespeare_val.bin`, `fineweb_train_000001.bin`. A file's
 * validation data is what lies beside it under the same name, but for `val`. Files of a folder that say neither are all
 * training data.
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

/** Where nothing else is validation data, the training data's last tokens are. */
function holdOut(train: TokenSource, val: TokenSource | undefined): Pick<Data, "train" | "val"> {
  if (val) return { train, val };
  const rest = train.length - heldOutSize(train.length, LEAST_TOKENS);
  return { train: sliceTokens(train, 0, rest), val: sliceTokens(train, rest, train.length - rest) };
}

const LEAST_TOKENS = 1 << 14;

function describe(name: string, { train, val, tokenizer }: Pick<Data, "train" | "val" | "tokenizer">): Data {
  const number = (n: number) => n.toLocaleString("en");
  const sizes = `${number(train.length)} tokens to train on, ${number(val.length)} to validate on`;
  const vocabulary = tokenizer ? `vocabulary of ${number(tokenizer.vocabSize)}` : "no tokenizer";
  return {
    train,
    val,
    tokenizer,
    bytesPerToken: tokenizer && bytesPerToken(val, tokenizer),
    description: `${name}: ${sizes}, ${vocabulary}`,
  };
}

/** Tokens measured at most. */
const MEASURED = 1 << 22;
const BLOCK = 1 << 16;

/** What stands between documents is a token, but no byte of text. */
function bytesPerToken(val: TokenSource, tokenizer: Tokenizer): number {
  const lengths = Int32Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    id === tokenizer.endOfText ? 0 : tokenizer.tokenBytes(id).length,
  );
  const tokens = Math.min(val.length, MEASURED);
  const block = new Int32Array(BLOCK);
  let bytes = 0;
  for (let start = 0; start < tokens; start += BLOCK) {
    const ids = block.subarray(0, Math.min(BLOCK, tokens - start));
    val.read(start, ids);
    for (const id of ids) bytes += lengths[id];
  }
  return bytes / tokens;
}
