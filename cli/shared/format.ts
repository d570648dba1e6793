/** Formatting of numbers, text and tokens for the terminal. */
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";

/** Width of a terminal in columns. If `stream` is not a terminal: `COLUMNS`, otherwise 80. */
export const columnsOf = (stream: { columns?: number }): number =>
  stream.columns || Number(process.env.COLUMNS) || 80;

export const number = (n: number): string => n.toLocaleString("en");

/** Formats a size in binary units with three significant digits: "1.73 GiB". */
export function bytes(n: number): string {
  const [unit, size] = UNITS.find(([, least]) => n >= least) ?? ["B", 1];
  return `${Number((n / size).toPrecision(n < 1000 * size ? 3 : 4))} ${unit}`;
}

const UNITS: [string, number][] = [
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
];

/** Formats two columns as lines of minimal width, the right column flush right. */
export function spread(rows: readonly (readonly [left: string, right: string])[]): string[] {
  const width = Math.max(...rows.map(([left, right]) => left.length + 2 + right.length));
  return rows.map(([left, right]) => (left + right.padStart(width - left.length)).trimEnd());
}

/** Breaks a line between words so that it fits `width` columns; longer words are not broken. */
export function wrap(text: string, width: number): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines[lines.length - 1];
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}

/** Splits text into lines of at most `width` columns, breaking between words, or inside a word longer than a line. */
export function fold(text: string, width: number): string[] {
  return text
    .replaceAll("\t", " ")
    .split("\n")
    .flatMap((line) => wrap(line, width).split("\n"))
    .flatMap((line) => line.match(new RegExp(`.{1,${width}}`, "gu")) ?? [""]);
}

/** Joins two columns of lines, padding the shorter one with empty lines. */
export function sideBySide(
  left: readonly string[],
  right: readonly string[],
  { width, gap }: { width: number; gap: number },
): string[] {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, i) =>
    ((left[i] ?? "").padEnd(width + gap) + (right[i] ?? "")).trimEnd(),
  );
}

/** Replaces control characters, so that generated text cannot send escape sequences to the terminal. */
export const printable = (text: string): string => text.replace(/(?![\n\t])\p{Cc}/gu, "\ufffd");

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A token in quotes, or its bytes if they are not valid UTF-8: `" the"`, `<e2 80>`. */
export function tokenLabel(tokenizer: Tokenizer, id: number): string {
  const raw = tokenizer.tokenBytes(id);
  try {
    return printable(JSON.stringify(utf8.decode(raw)));
  } catch {
    return `<${Array.from(raw, (byte) => byte.toString(16).padStart(2, "0")).join(" ")}>`;
  }
}
