import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { ReflowError } from "../../runtime/common/errors.ts";
import { hashFile, sha256, wrapFileErrors, writeFolder } from "../../runtime/host/files.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { type DocumentPart, readDocuments } from "./documents.ts";
import { openTokens, type TokenSource, type TokenType, tokenBytes } from "./shards.ts";
import { heldOutCut, sliceDocuments } from "./split.ts";
import { type ResolveOptions, readTokenizer, resolveTokenizer, tokenizerKey } from "./tokenizer-flag.ts";

/** Text to tokenize. */
export interface TextInput {
  /** Files, as returned by `documentFiles`. */
  train: readonly string[];
  /** Default: documents held out at the end of `train`; see `heldOutCut`. */
  val?: readonly string[];
  /** `FILE|gpt2|bpe:N` */
  tokenizer: string;
}

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const splitSchema = v.object({
  tokens: count,
  documents: count,
  /** UTF-8 bytes of the text, without the separators between documents. */
  bytes: count,
});
const META = "meta.json";
const FORMAT = "reflow-tokens-1";
const metaSchema = v.object({
  format: v.literal(FORMAT),
  type: v.picklist(["uint16", "uint32"]),
  vocabSize: count,
  endOfText: count,
  /** SHA-256 of tokenizer.json */
  tokenizer: v.string(),
  train: splitSchema,
  val: splitSchema,
});

/** `meta.json` of a folder of prepared tokens. */
export type TokensMeta = v.InferOutput<typeof metaSchema>;
type Split = v.InferOutput<typeof splitSchema>;

/**
 * Tokenizes text into a folder. It contains `train-000.bin`, … and `val-000.bin`, … with bare little-endian ids, as in
 * nanoGPT, and `<|endoftext|>` after each document; `tokenizer.json`; and `meta.json`. Text is streamed. An existing folder
 * of prepared tokens is replaced once everything is written; any other existing folder is an error.
 *
 * @throws ReflowError `data` if a file cannot be read or written, and as {@link resolveTokenizer} does
 */
export async function prepareData(
  input: TextInput,
  folder: string,
  options: ResolveOptions = {},
): Promise<void> {
  const isEmpty = existsSync(folder) && statSync(folder).isDirectory() && readdirSync(folder).length === 0;
  if (existsSync(folder) && !isEmpty && !isPrepared(folder)) {
    const help = "choose a new folder, or remove this one";
    throw new ReflowError("data", `${folder} already exists and does not contain prepared tokens`, help);
  }
  await writePrepared(input, folder, options);
}

/** As {@link prepareData}, but replaces any existing folder. */
export async function writePrepared(
  input: TextInput,
  folder: string,
  options: ResolveOptions,
): Promise<void> {
  const read = () => readDocuments(input.train);
  let train = read;
  let val = () => readDocuments(input.val ?? []);
  if (!input.val) {
    const cut = heldOutCut(read);
    train = () => sliceDocuments(read(), 0, cut);
    val = () => sliceDocuments(read(), cut, Number.POSITIVE_INFINITY);
  }
  const tokenizer = await resolveTokenizer(input.tokenizer, train, options);
  const type = tokenizer.vocabSize <= 2 ** 16 ? "uint16" : "uint32";
  const of = [...input.train, ...(input.val ?? [])].reduce((sum, file) => sum + statSync(file).size, 0);
  await writeFolder(folder, async (temporary) => {
    const json = JSON.stringify(tokenizer);
    writeFileSync(join(temporary, "tokenizer.json"), json);
    const write = (name: string, parts: Iterable<DocumentPart>, before: number) =>
      tokenize(parts, tokenizer, new ShardWriter(temporary, name, type), (bytes) =>
        options.onProgress?.("tokenize", Math.min(before + bytes, of), of),
      );
    const trainSplit = await write("train", train(), 0);
    const valSplit = await write("val", val(), trainSplit.bytes);
    // Separators between documents were not counted.
    options.onProgress?.("tokenize", of, of);
    const meta: TokensMeta = {
      format: FORMAT,
      type,
      vocabSize: tokenizer.vocabSize,
      endOfText: tokenizer.endOfText,
      tokenizer: sha256(json),
      train: trainSplit,
      val: valSplit,
    };
    writeFileSync(join(temporary, META), `${JSON.stringify(meta, null, 2)}\n`);
  });
}

/** Length of the text between two progress reports, in UTF-16 code units: a few tenths of a second. */
const REPORT_LENGTH = 1 << 19;

async function tokenize(
  parts: Iterable<DocumentPart>,
  tokenizer: Tokenizer,
  writer: ShardWriter,
  onBytes: (bytes: number) => void,
): Promise<Split> {
  const endOfText = [tokenizer.endOfText];
  let documents = 0;
  let bytes = 0;
  let unreported = 0;
  try {
    for (const { text, ends } of parts) {
      writer.write(tokenizer.encode(text));
      if (ends) {
        writer.write(endOfText);
        documents++;
      }
      bytes += Buffer.byteLength(text);
      unreported += text.length;
      if (unreported >= REPORT_LENGTH) {
        unreported = 0;
        onBytes(bytes);
        // Lets the event loop run signal handlers and timers.
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
  } finally {
    writer.close();
  }
  onBytes(bytes);
  return { tokens: writer.tokens, documents, bytes };
}

/** The largest number of tokens in a shard, a common choice: 200 MB. */
const SHARD_TOKENS = 100_000_000;
const BUFFER = 1 << 18;

/** Writes ids to `name-000.bin`, `name-001.bin`, … */
export class ShardWriter {
  /** Number of tokens written so far. */
  tokens = 0;
  readonly #buffer: Uint16Array | Uint32Array;
  #filled = 0;
  #handle: number | undefined;

  constructor(
    private readonly folder: string,
    private readonly name: string,
    type: TokenType,
    private readonly shardTokens = SHARD_TOKENS,
  ) {
    this.#buffer = new (type === "uint16" ? Uint16Array : Uint32Array)(Math.min(BUFFER, shardTokens));
  }

  write(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) {
      this.#buffer[this.#filled++] = ids[i];
      this.tokens++;
      if (this.#filled === this.#buffer.length || this.tokens % this.shardTokens === 0) this.#flush();
    }
  }

  /** Flushes all tokens to the disk. */
  close(): void {
    this.#flush();
    this.#closeShard();
  }

  #flush(): void {
    if (this.#filled === 0) return;
    const shard = Math.ceil(this.tokens / this.shardTokens) - 1;
    this.#handle ??= openSync(join(this.folder, `${this.name}-${String(shard).padStart(3, "0")}.bin`), "w");
    const bytes = new Uint8Array(this.#buffer.buffer, 0, this.#filled * this.#buffer.BYTES_PER_ELEMENT);
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#handle, bytes, done);
    this.#filled = 0;
    if (this.tokens % this.shardTokens === 0) this.#closeShard();
  }

  #closeShard(): void {
    if (this.#handle === undefined) return;
    fsyncSync(this.#handle);
    closeSync(this.#handle);
    this.#handle = undefined;
  }
}

/** Whether {@link prepareData} has written the folder, which may be incomplete. */
export function isPrepared(path: string): boolean {
  const meta = join(path, META);
  return existsSync(meta) && readFileSync(meta, "utf8").includes(FORMAT);
}

/** Prepared tokens, opened. */
export interface Prepared {
  meta: TokensMeta;
  tokenizer: Tokenizer;
  train: TokenSource;
  val: TokenSource;
}

/**
 * Opens a folder that {@link prepareData} has written.
 *
 * @throws ReflowError `data` or `format` if a file is missing, truncated or modified
 */
export function openPrepared(folder: string): Prepared {
  const metaFile = join(folder, META);
  const refuse = (what: string, cause?: unknown): never => {
    throw new ReflowError("data", what, "prepare the data again", { cause });
  };
  const text = wrapFileErrors(metaFile, () => readFileSync(metaFile, "utf8"));
  let meta: TokensMeta;
  try {
    meta = v.parse(metaSchema, JSON.parse(text));
  } catch (error) {
    return refuse(`${metaFile}: ${(error as Error).message}`, error);
  }
  const tokenizerFile = join(folder, "tokenizer.json");
  if (hashFile(tokenizerFile) !== meta.tokenizer) refuse(`${tokenizerFile} does not match meta.json`);
  const open = (name: "train" | "val") => {
    const files = readdirSync(folder).filter((file) => file.startsWith(`${name}-`) && file.endsWith(".bin"));
    const paths = files.sort().map((file) => join(folder, file));
    const found = paths.reduce((sum, path) => sum + statSync(path).size, 0) / tokenBytes(meta.type);
    if (found !== meta[name].tokens) {
      refuse(`${folder}: ${name}-*.bin contain ${found} tokens, but meta.json says ${meta[name].tokens}`);
    }
    return openTokens(paths, { vocabSize: meta.vocabSize, type: meta.type });
  };
  return { meta, tokenizer: readTokenizer(tokenizerFile), train: open("train"), val: open("val") };
}

/** Must be incremented when the same input results in different tokens. */
const VERSION = 1;

/** The cache key of an input of {@link prepareData}: a hash of the files' contents and of the tokenizer. */
export function preparedKey({ train, val, tokenizer }: TextInput): string {
  // The file extension determines how a file is read.
  const hashes = (files: readonly string[]) =>
    files.map((file) => `${file.slice(file.lastIndexOf("."))} ${hashFile(file)}`);
  return sha256(JSON.stringify([VERSION, hashes(train), val && hashes(val), tokenizerKey(tokenizer)]));
}
