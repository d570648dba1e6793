/** Evaluation text: the files it is read from, and its tokens. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import type { DocumentPart } from "../../trainer/data/documents.ts";

/**
 * The document files of `text`, or of stdin for `-`. Default: the checkpoint's held-out text, otherwise the validation split of
 * the default corpus, which is downloaded.
 */
export async function evaluationFiles(
  text: string | undefined,
  checkpoint: string,
  onProgress: (done: number, of: number) => void,
): Promise<string[]> {
  if (text === "-") return [spoolStdin()];
  const { heldOutOf } = await import("../../runtime/formats/checkpoint.ts");
  const { documentFiles } = await import("../../trainer/data/documents.ts");
  const path = text ?? heldOutOf(checkpoint);
  if (path !== undefined) return documentFiles(path);
  const { defaultCorpus } = await import("../../trainer/data/default-corpus.ts");
  return (await defaultCorpus({ onProgress })).val;
}

/** Documents are read from files, so stdin is copied to a temporary file that is removed when the process exits. */
function spoolStdin(): string {
  const folder = mkdtempSync(join(tmpdir(), "reflow-eval-"));
  process.on("exit", () => rmSync(folder, { recursive: true }));
  const file = join(folder, "stdin");
  writeFileSync(file, readFileSync(0));
  return file;
}

/** Encodes documents as one sequence of ids, each document preceded by `<|endoftext|>`. */
export function encodeDocuments(
  tokenizer: Tokenizer,
  parts: Iterable<DocumentPart>,
): { ids: Int32Array; bytes: number; documents: number } {
  const pieces: ArrayLike<number>[] = [];
  let length = 0;
  const append = (ids: ArrayLike<number>) => {
    pieces.push(ids);
    length += ids.length;
  };
  let [bytes, documents, begins] = [0, 0, true];
  for (const { text, ends } of parts) {
    if (begins) append([tokenizer.endOfText]);
    append(tokenizer.encode(text));
    bytes += Buffer.byteLength(text);
    if (ends) documents++;
    begins = ends;
  }
  const ids = new Int32Array(length);
  let offset = 0;
  for (const piece of pieces) {
    ids.set(piece, offset);
    offset += piece.length;
  }
  return { ids, bytes, documents };
}
