/** HTML and SVG as strings in which only what was meant as markup is markup. */

/** Markup that is safe to put into a page. */
export class Markup {
  constructor(readonly text: string) {}
}

type Content = Markup | string | number | undefined | false | readonly Content[];

/**
 * A template whose values are escaped, unless they are markup themselves. Lists are joined; `undefined` and `false` are nothing.
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
 * Also turns what no document may hold, or what would turn the text around it, into the replacement character: control
 * characters, bidirectional ones and half surrogate pairs.
 */
function escaped(text: string): string {
  return text
    .toWellFormed()
    .replace(/(?![\n\t])\p{Cc}|[\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu, "\ufffd")
    .replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** Sentences with the apostrophes that belong into them. */
export const typeset = (text: string): string => text.replace(/(?<=[\p{L}\p{N}])'/gu, "’");

const ENTITIES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
