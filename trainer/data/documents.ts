import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { readChunks, wrapFileErrors } from "../../runtime/host/files.ts";

/** A document, or one of the consecutive parts of a very long document. */
export interface DocumentPart {
  /** The last part of a long document may be empty. */
  text: string;
  /** Whether this part is the end of its document. */
  ends: boolean;
}

/** Length of the parts of a very long document, in UTF-16 code units. */
const PART_LENGTH = 1 << 19;

/** A line that contains only `<|endoftext|>`, including the end of the line. */
const SEPARATOR = /^[ \t]*<\|endoftext\|>[ \t]*\r?(?:\n|$)/m;

/**
 * The files with the documents of a path: the file itself, or the `.txt` files of a folder in the order of their names.
 *
 * @throws ReflowError `data` if the path does not exist, or the folder has no `.txt` files
 */
export function documentFiles(path: string): string[] {
  if (!wrapFileErrors(path, () => statSync(path)).isDirectory()) return [path];
  const names = wrapFileErrors(path, () => readdirSync(path)).sort();
  const files = names.filter((name) => name.endsWith(".txt")).map((name) => join(path, name));
  if (files.length === 0) {
    const found = names.length
      ? `it contains ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`
      : "it is empty";
    throw new ReflowError(
      "data",
      `${path} has no .txt files; ${found}`,
      "pass a file, or a folder of .txt files",
    );
  }
  return files;
}

/**
 * Streams the documents of UTF-8 files. In `.jsonl` and `.ndjson` files each line is a JSON object whose `text` is a
 * document. In other files, documents are separated by lines that contain only `<|endoftext|>`, and by the ends of files;
 * white space around a document is dropped. Memory is bounded by the size of a part, or of a line in JSONL.
 *
 * A document of over a million characters may be split into parts of up to two million. They are cut at token boundaries, so
 * that the concatenated tokens of the parts are the tokens of the document.
 *
 * @throws ReflowError `data` naming the file and position, if a file is missing, is not text or not JSON, or if no file
 *   contains any text
 *
 * @example
 * for (const { text, ends } of readDocuments(documentFiles("corpus/train"))) …
 */
export function* readDocuments(files: readonly string[]): Generator<DocumentPart> {
  let empty = true;
  for (const file of files) {
    for (const part of /\.(jsonl|ndjson)$/i.test(file) ? jsonLines(file) : separatedDocuments(file)) {
      empty = false;
      yield part;
    }
  }
  if (empty) {
    const where = files.length > 1 ? `${files[0]} and ${files.length - 1} more` : files[0];
    throw new ReflowError("data", `${where} contains no text`, "pass a file that contains text");
  }
}

function* separatedDocuments(file: string): Generator<DocumentPart> {
  let pending = "";
  let begun = false;
  const trim = (text: string) => (begun ? text : text.trimStart());
  const end = function* (text: string): Generator<DocumentPart> {
    const rest = trim(text).trimEnd();
    if (rest || begun) yield { text: rest, ends: true };
    begun = false;
  };
  for (const chunk of decode(file)) {
    pending += chunk;
    // An incomplete last line may be the start of a separator.
    const whole = pending.lastIndexOf("\n") + 1;
    const texts = pending.slice(0, whole).split(SEPARATOR);
    pending = texts.pop() + pending.slice(whole);
    for (const text of texts) yield* end(text);
    while (pending.length > 2 * PART_LENGTH) {
      const cut = cutBefore(pending, PART_LENGTH);
      const text = trim(pending.slice(0, cut));
      pending = pending.slice(cut);
      if (text) {
        yield { text, ends: false };
        begun = true;
      }
    }
  }
  for (const text of pending.split(SEPARATOR)) yield* end(text);
}

/** The last character of a word, then white space by any definition, then anything but the start of a separator. */
const CUT = /^[\p{L}\p{N}\p{P}\p{S}][ \n][^<]/u;

/**
 * The last position up to `latest` at which white space begins, and which no token crosses. A text without such a position is
 * cut at `latest`, between characters.
 */
export function cutBefore(text: string, latest: number): number {
  for (let i = latest; i > 0; i--) if (CUT.test(text.slice(i - 1, i + 2))) return i;
  const isLowSurrogate = (text.charCodeAt(latest) & 0xfc00) === 0xdc00;
  return isLowSurrogate ? latest + 1 : latest;
}

function* jsonLines(file: string): Generator<DocumentPart> {
  let number = 0;
  for (const line of lines(file)) {
    number++;
    const text = line.trim() && textOf(line, `${file}:${number}`);
    if (text) yield { text, ends: true };
  }
}

function* lines(file: string): Generator<string> {
  let pending = "";
  for (const chunk of decode(file)) {
    const found = (pending + chunk).split("\n");
    pending = found.pop()!;
    yield* found;
  }
  yield pending;
}

function textOf(json: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new ReflowError(
      "data",
      `${where}: ${(cause as Error).message}`,
      "expected a JSON object on every line",
      { cause },
    );
  }
  const text = value && typeof value === "object" && "text" in value ? value.text : undefined;
  if (typeof text === "string") return text;
  const help = 'expected every line to be an object with a string "text"';
  throw new ReflowError("data", `${where}: no text in ${json.slice(0, 60)}`, help);
}

/** Yields the text of a file, about 1 MiB at a time, cut between characters. */
function* decode(file: string): Generator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let offset = 0;
  const refuse = (what: string, chunk: Uint8Array): never => {
    const place = `between bytes ${offset} and ${offset + chunk.length}`;
    throw new ReflowError(
      "data",
      `${file}: ${what} ${place}`,
      "pass UTF-8 text; convert other encodings with iconv",
    );
  };
  for (const chunk of readChunks(file)) {
    if (chunk.includes(0)) refuse("a zero byte", chunk);
    let text = "";
    try {
      text = decoder.decode(chunk, { stream: true });
    } catch {
      refuse("invalid UTF-8", chunk);
    }
    offset += chunk.length;
    yield text;
  }
  try {
    decoder.decode();
  } catch {
    refuse("an incomplete character at the end,", new Uint8Array());
  }
}
