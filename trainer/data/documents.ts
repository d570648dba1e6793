import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import { asData, readChunks } from "../../runtime/host/files.ts";

/** A document, or one of the parts that a very long one comes in, in order. */
export interface DocumentPart {
  /** The last part of a long document may be empty. */
  text: string;
  /** The document ends with it. */
  ends: boolean;
}

/** The length of a very long document's parts, in UTF-16 units. */
const PART = 1 << 19;

/** A line with nothing but `<|endoftext|>`, to the end of the line. */
const SEPARATOR = /^[ \t]*<\|endoftext\|>[ \t]*\r?(?:\n|$)/m;

/**
 * The files that hold a path's documents: the file itself, or a folder's `.txt` files in the order of their names.
 *
 * @throws ReflowError `data` where there are none
 */
export function documentFiles(path: string): string[] {
  if (!asData(path, () => statSync(path)).isDirectory()) return [path];
  const names = asData(path, () => readdirSync(path)).sort();
  const files = names.filter((name) => name.endsWith(".txt")).map((name) => join(path, name));
  if (files.length === 0) {
    const found = names.length
      ? `it has ${names.slice(0, 3).join(", ")}${names.length > 3 ? ", …" : ""}`
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
 * Streams the documents of UTF-8 files. In `.jsonl` and `.ndjson` a document is a line's `text`; elsewhere documents are
 * separated by lines with nothing but `<|endoftext|>`, and by the ends of files. White space around a document isn't
 * part of it. Memory is bounded by a part's size, or by a line's in JSONL.
 *
 * A document of over a million characters may come in parts of up to two million. They are cut where no token crosses,
 * so that their tokens, one after another, are the document's.
 *
 * @throws ReflowError `data` naming file and place, for what isn't there, isn't text or isn't JSON, and where there is no
 *   text at all
 *
 * @example
 * for (const { text, ends } of readDocuments(documentFiles("corpus/train"))) …
 */
export function* readDocuments(files: readonly string[]): Generator<DocumentPart> {
  let empty = true;
  for (const file of files) {
    for (const part of /\.(jsonl|ndjson)$/i.test(file) ? jsonLines(file) : separated(file)) {
      empty = false;
      yield part;
    }
  }
  if (empty) {
    const where = files.length > 1 ? `${files[0]} and ${files.length - 1} more` : files[0];
    throw new ReflowError("data", `there is no text in ${where}`, "pass a file with text in it");
  }
}

function* separated(file: string): Generator<DocumentPart> {
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
    // A last line without its end may be the first half of a separator.
    const whole = pending.lastIndexOf("\n") + 1;
    const texts = pending.slice(0, whole).split(SEPARATOR);
    pending = texts.pop() + pending.slice(whole);
    for (const text of texts) yield* end(text);
    while (pending.length > 2 * PART) {
      const cut = cutBefore(pending, PART);
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

/** A word's last character, then white space by any definition, and no separator after it. */
const CUT = /^[\p{L}\p{N}\p{P}\p{S}][ \n][^<]/u;

/**
 * The last place up to `latest` where white space begins, which no token crosses. A text without any is cut at `latest`,
 * between characters.
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
      "every line must be a JSON object",
      { cause },
    );
  }
  const text = value && typeof value === "object" && "text" in value ? value.text : undefined;
  if (typeof text === "string") return text;
  const help = 'every line must be an object with a string "text"';
  throw new ReflowError("data", `${where}: there is no text in ${json.slice(0, 60)}`, help);
}

/** A file's text, about 1 MiB at a time, never a half character. */
function* decode(file: string): Generator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let offset = 0;
  const refuse = (what: string, chunk: Uint8Array): never => {
    const place = `between bytes ${offset} and ${offset + chunk.length}`;
    throw new ReflowError(
      "data",
      `${file}: ${what} ${place}`,
      "pass UTF-8 text; iconv converts other encodings",
    );
  };
  for (const chunk of readChunks(file)) {
    if (chunk.includes(0)) refuse("a zero byte, which no text has,", chunk);
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
    refuse("half a character at the end,", new Uint8Array());
  }
}
