import { existsSync, readFileSync } from "node:fs";
import { ReflowError } from "../../runtime/common/errors.ts";
import { gpt2Tokenizer } from "../../runtime/text/gpt2.ts";
import { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { trainBpe } from "../../runtime/text/train-bpe.ts";
import { GPT2, gpt2Files } from "./default-corpus.ts";
import type { DocumentPart } from "./documents.ts";
import { asData, hashFile } from "../../runtime/host/files.ts";

/** What takes long, as it goes on: bytes, except for `tokenizer`, which counts tokens. */
export type Progress = (stage: "download" | "tokenizer" | "tokenize", done: number, of: number) => void;

type Source = { kind: "gpt2" } | { kind: "bpe"; size: number } | { kind: "file"; path: string };

/** @throws ReflowError `usage` for what is none of `FILE|gpt2|bpe:N` */
function parseFlag(flag: string): Source {
  if (flag === "gpt2") return { kind: "gpt2" };
  const bpe = flag.match(/^bpe:(\d+)$/);
  if (bpe) return { kind: "bpe", size: Number(bpe[1]) };
  if (existsSync(flag)) return { kind: "file", path: flag };
  throw new ReflowError(
    "usage",
    `--tokenizer ${flag}: there is no such file`,
    "pass a tokenizer.json, gpt2, or bpe:N to train one of N tokens",
  );
}

/** A text that is the same for the same flag only if the tokenizer is, given the same documents. */
export function tokenizerKey(flag: string): string {
  const source = parseFlag(flag);
  if (source.kind === "file") return hashFile(source.path);
  return source.kind === "gpt2" ? GPT2.integrity : flag;
}

export interface ResolveOptions {
  /** The vocabulary that the tokenizer must fit into. */
  vocabSize?: number;
  cacheDir?: string;
  onProgress?: Progress;
}

/**
 * The tokenizer that `--tokenizer` asks for.
 *
 * @param read the training documents, for `bpe:N`; without them it is refused
 * @throws ReflowError `usage`, `data`, `format` or `network`, as it may be
 */
export async function resolveTokenizer(
  flag: string,
  read: (() => Iterable<DocumentPart>) | undefined,
  { vocabSize = Number.POSITIVE_INFINITY, cacheDir, onProgress }: ResolveOptions = {},
): Promise<Tokenizer> {
  const source = parseFlag(flag);
  // Before it is trained, where its size is known.
  if (source.kind === "bpe") mustFit(source.size, vocabSize);
  const tokenizer = await make();
  mustFit(tokenizer.vocabSize, vocabSize);
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
            `--tokenizer ${flag} trains on text, but the data are tokens already`,
            "pass the tokenizer that they were made with",
          );
        }
        return trainBpe(sample(read), source.size, {
          onProgress: (done, of) => onProgress?.("tokenizer", done, of),
        });
    }
  }
}

/** @throws ReflowError `data` where it can't be read, `format` where it is not a tokenizer that can be used */
export function readTokenizer(path: string): Tokenizer {
  const text = asData(path, () => readFileSync(path, "utf8"));
  try {
    return Tokenizer.fromJSON(JSON.parse(text), path);
  } catch (cause) {
    if (cause instanceof ReflowError) throw cause;
    throw new ReflowError("format", `${path}: ${(cause as Error).message}`, "pass a tokenizer.json", {
      cause,
    });
  }
}

/** @throws ReflowError `usage` where the tokenizer has more tokens than the model */
export function mustFit(tokens: number, vocabSize: number): void {
  if (tokens <= vocabSize) return;
  throw new ReflowError(
    "usage",
    `the tokenizer has ${tokens} tokens, the model's vocabulary only ${vocabSize}`,
    `use --tokenizer bpe:${vocabSize}, or a preset or a config with a larger vocab_size`,
  );
}

/** UTF-16 units that a tokenizer is trained on, about: more changes little but the time it takes. */
const SAMPLE = 32 << 20;

/** Every n-th document, or part of a long one, with the least n that keeps within SAMPLE. */
function* sample(read: () => Iterable<DocumentPart>): Generator<string> {
  let total = 0;
  for (const { text } of read()) total += text.length;
  const every = Math.ceil(total / SAMPLE);
  let i = 0;
  for (const { text } of read()) if (i++ % every === 0) yield text;
}
