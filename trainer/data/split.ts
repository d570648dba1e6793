import { ReflowError } from "../../runtime/common/errors.ts";
import { cutBefore, type DocumentPart } from "./documents.ts";

/**
 * How much of `total` is held out for validation where the user names nothing: 1%, but at least `least` unless that is
 * over a tenth.
 */
export function heldOutSize(total: number, least: number): number {
  return Math.ceil(Math.max(total / 100, Math.min(total / 10, least)));
}

/** UTF-16 units; some 15,000 tokens. */
const LEAST_TEXT = 1 << 16;

/**
 * Where a corpus is cut into training and validation text, in UTF-16 units from its beginning. What is held out is whole
 * documents at the end, {@link heldOutSize} or a little more. Where the last document alone is over a quarter of all the
 * text, it is cut too, before a word.
 *
 * @throws ReflowError `data` where there is too little to hold any out
 */
export function heldOutCut(read: () => Iterable<DocumentPart>): number {
  const starts: number[] = [];
  let total = 0;
  let begins = true;
  for (const { text, ends } of read()) {
    if (begins) starts.push(total);
    total += text.length;
    begins = ends;
  }
  const latest = total - heldOutSize(total, LEAST_TEXT);
  const cut = starts.findLast((start) => start <= latest)!;
  if (total - cut <= total / 4) return cut;
  const before = Math.min(latest, 4096);
  const around = Array.from(sliceDocuments(read(), latest - before, latest + 2), ({ text }) => text).join("");
  const inside = latest - before + cutBefore(around, before);
  if (inside > 0) return inside;
  throw new ReflowError("data", `a text of ${total} characters can't be split`, "pass more text, or --val");
}

/** The text from `from` up to `to`, in UTF-16 units. A document that goes on beyond `to` ends there. */
export function* sliceDocuments(
  parts: Iterable<DocumentPart>,
  from: number,
  to: number,
): Generator<DocumentPart> {
  let end = 0;
  for (const { text, ends } of parts) {
    const start = end;
    end += text.length;
    if (end <= from) continue;
    if (start >= to) return;
    yield { text: text.slice(Math.max(0, from - start), to - start), ends: ends || end >= to };
  }
}
