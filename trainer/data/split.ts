import { ReflowError } from "../../runtime/common/errors.ts";
import { cutBefore, type DocumentPart } from "./documents.ts";

/**
 * How much of `total` is held out for validation by default: 1%, but at least `minimum`, unless that exceeds a tenth.
 */
export function heldOutSize(total: number, minimum: number): number {
  return Math.ceil(Math.max(total / 100, Math.min(total / 10, minimum)));
}

/** In UTF-16 code units; about 15,000 tokens. */
const MIN_HELD_OUT_LENGTH = 1 << 16;

/**
 * The position that separates training from validation text, in UTF-16 code units from the beginning of the corpus. The
 * validation text consists of whole documents at the end, of {@link heldOutSize} or slightly more. If that would be over a
 * quarter of the text, because the last document is long, that document is cut before a word.
 *
 * @throws ReflowError `data` if the text is too short to hold any out
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
  const latest = total - heldOutSize(total, MIN_HELD_OUT_LENGTH);
  const cut = starts.findLast((start) => start <= latest)!;
  if (total - cut <= total / 4) return cut;
  const before = Math.min(latest, 4096);
  const around = Array.from(sliceDocuments(read(), latest - before, latest + 2), ({ text }) => text).join("");
  const inside = latest - before + cutBefore(around, before);
  if (inside > 0) return inside;
  throw new ReflowError(
    "data",
    `a text of ${total} characters is too short to split`,
    "pass more text, or --val",
  );
}

/** The text from `from` up to `to`, in UTF-16 code units. A document that extends beyond `to` ends there. */
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
