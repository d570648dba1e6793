/** How figures and text are shown to people. */
import type { Tokenizer } from "../runtime/text/tokenizer.ts";

/** Columns of a terminal, or of what `COLUMNS` says where there is none. */
export const columnsOf = (stream: { columns?: number }): number =>
  stream.columns || Number(process.env.COLUMNS) || 80;

export const number = (n: number): string => n.toLocaleString("en");

/** "1.73 GiB": three digits. */
export function bytes(n: number): string {
  const [unit, size] = UNITS.find(([, least]) => n >= least) ?? ["B", 1];
  return `${Number((n / size).toPrecision(n < 1000 * size ? 3 : 4))} ${unit}`;
}

const UNITS: [string, number][] = [
  ["GiB", 2 ** 30],
  ["MiB", 2 ** 20],
  ["KiB", 2 ** 10],
];

/** Lines of two ends, the right ones flush, as narrow as they can be. */
export function spread(rows: readonly (readonly [left: string, right: string])[]): string[] {
  const width = Math.max(...rows.map(([left, right]) => left.length + 2 + right.length));
  return rows.map(([left, right]) => (left + right.padStart(width - left.length)).trimEnd());
}

/** Breaks a line between words. */
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

/** Lines of a text that keep to a width: broken between words, or in a word that is longer than a line. */
export function fold(text: string, width: number): string[] {
  return text
    .replaceAll("\t", " ")
    .split("\n")
    .flatMap((line) => wrap(line, width).split("\n"))
    .flatMap((line) => line.match(new RegExp(`.{1,${width}}`, "gu")) ?? [""]);
}

/** Two columns of lines; the shorter is filled up with empty ones. */
export function sideBySide(
  left: readonly string[],
  right: readonly string[],
  { width, gap }: { width: number; gap: number },
): string[] {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, i) =>
    ((left[i] ?? "").padEnd(width + gap) + (right[i] ?? "")).trimEnd(),
  );
}

/** What a terminal may show of a text that nobody has read before: an untrained model says escape sequences too. */
export const printable = (text: string): string => text.replace(/(?![\n\t])\p{Cc}/gu, "\ufffd");

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A token in quotes; the bytes of one that is no whole text: `" the"`, `<e2 80>`. */
export function tokenLabel(tokenizer: Tokenizer, id: number): string {
  const raw = tokenizer.tokenBytes(id);
  try {
    return printable(JSON.stringify(utf8.decode(raw)));
  } catch {
    return `<${Array.from(raw, (byte) => byte.toString(16).padStart(2, "0")).join(" ")}>`;
  }
}
