/** HTML and SVG templates with automatic escaping. */

/** Markup that is inserted into a page without escaping. */
export class Markup {
  constructor(readonly text: string) {}
}

type Content = Markup | string | number | undefined | false | readonly Content[];

/**
 * A template tag that escapes all values except {@link Markup}. Lists are joined; `undefined` and `false` render as nothing.
 *
 * @example
 * markup`<td title="${token}">${token}</td>`
 */
export function markup(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  let text = parts[0];
  for (const [i, value] of values.entries()) text += render(value) + parts[i + 1];
  return new Markup(text);
}

function render(value: Content): string {
  if (value === undefined || value === false) return "";
  if (value instanceof Markup) return value.text;
  if (typeof value === "object") return value.map(render).join("");
  return escaped(String(value));
}

/**
 * Escapes HTML, and replaces characters that are invalid in a document or would reorder the surrounding text with U+FFFD: control
 * characters, bidirectional overrides and lone surrogates.
 */
function escaped(text: string): string {
  return text
    .toWellFormed()
    .replace(/(?![\n\t])\p{Cc}|[\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu, "\ufffd")
    .replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** Replaces straight apostrophes with typographic ones. */
export const typeset = (text: string): string => text.replace(/(?<=[\p{L}\p{N}])'/gu, "’");

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
