import { existsSync, readFileSync } from "node:fs";
import { ReflowError } from "../../runtime/common/errors.ts";
import { hashFile, wrapFileErrors } from "../../runtime/host/files.ts";
import { gpt2Tokenizer } from "../../runtime/text/gpt2.ts";
import { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { trainBpe } from "../../runtime/text/train-bpe.ts";
import { GPT2, gpt2Files } from "./default-corpus.ts";
import type { DocumentPart } from "./documents.ts";

/** Progress of a long-running stage, in bytes; in tokens for the stage `tokenizer`. */
export type Progress = (stage: "download" | "tokenizer" | "tokenize", done: number, of: number) => void;

type Source = { kind: "gpt2" } | { kind: "bpe"; size: number } | { kind: "file"; path: string };

/** @throws ReflowError `usage` if the flag is none of `FILE|gpt2|bpe:N` */
function parseFlag(flag: string): Source {
  if (flag === "gpt2") return { kind: "gpt2" };
  const bpe = flag.match(/^bpe:(\d+)$/);
  if (bpe) return { kind: "bpe", size: Number(bpe[1]) };
  if (existsSync(flag)) return { kind: "file", path: flag };
  throw new ReflowError(
    "usage",
    `--tokenizer ${flag}: no such file`,
    "pass a tokenizer.json, gpt2, or bpe:N to train one with N tokens",
  );
}

/** A cache key: given the same documents, equal keys imply equal tokenizers. */
export function tokenizerKey(flag: string): string {
  const source = parseFlag(flag);
  if (source.kind === "file") return hashFile(source.path);
  return source.kind === "gpt2" ? GPT2.integrity : flag;
}

export interface ResolveOptions {
  /** The largest permitted number of tokens. */
  vocabSize?: number;
  cacheDir?: string;
  onProgress?: Progress;
}

/**
 * Loads, fetches or trains the tokenizer of `--tokenizer`.
 *
 * @param read reads the training documents, which `bpe:N` requires
 * @throws ReflowError `usage` for an invalid flag; `data`, `format` or `network` if the tokenizer cannot be obtained
 */
export async function resolveTokenizer(
  flag: string,
  read: (() => Iterable<DocumentPart>) | undefined,
  { vocabSize = Number.POSITIVE_INFINITY, cacheDir, onProgress }: ResolveOptions = {},
): Promise<Tokenizer> {
  const source = parseFlag(flag);
  // Checked before training, since the size is known.
  if (source.kind === "bpe") requireVocabularyFits(source.size, vocabSize);
  const tokenizer = await make();
  requireVocabularyFits(tokenizer.vocabSize, vocabSize);
  return tokenizer;

  async function make(): Promise<Tokenizer> {
    switch (source.kind) {
      case "gpt2": {
        const { encoder, merges } = await gpt2Files({
          cacheDir,
          onProgress: (done, of) => onProgress?.("download", done, of),
        });
        return gpt2Tokenizer(encoder, merges);
      }
      case "file":
        return readTokenizer(source.path);
      case "bpe":
        if (!read) {
          throw new ReflowError(
            "usage",
            `--tokenizer ${flag} trains on text, but the data is already tokenized`,
            "pass the tokenizer with which it was created",
          );
        }
        return trainBpe(sample(read), source.size, {
          onProgress: (done, of) => onProgress?.("tokenizer", done, of),
        });
    }
  }
}

/** @throws ReflowError `data` if the file cannot be read, `format` if it is not a supported tokenizer */
export function readTokenizer(path: string): Tokenizer {
  const text = wrapFileErrors(path, () => readFileSync(path, "utf8"));
  try {
    return Tokenizer.fromJSON(JSON.parse(text), path);
  } catch (cause) {
    if (cause instanceof ReflowError) throw cause;
    throw new ReflowError("format", `${path}: ${(cause as Error).message}`, "pass a tokenizer.json", {
      cause,
    });
  }
}

/** @throws ReflowError `usage` if the tokenizer has more tokens than the model */
export function requireVocabularyFits(tokens: number, vocabSize: number): void {
  if (tokens <= vocabSize) return;
  throw new ReflowError(
    "usage",
    `the tokenizer has ${tokens} tokens, but the model's vocabulary only ${vocabSize}`,
    `use --tokenizer bpe:${vocabSize}, or a preset or a config with a larger vocab_size`,
  );
}

/** Approximate length of the text on which a tokenizer is trained, in UTF-16 code units. More text changes the result little. */
const SAMPLE_LENGTH = 32 << 20;

/** Every n-th document, or part of a long one, with the smallest n for which the text is within SAMPLE_LENGTH. */
function* sample(read: () => Iterable<DocumentPart>): Generator<string> {
  let total = 0;
  for (const { text } of read()) total += text.length;
  const every = Math.ceil(total / SAMPLE_LENGTH);
  let i = 0;
  for (const { text } of read()) if (i++ % every === 0) yield text;
}
