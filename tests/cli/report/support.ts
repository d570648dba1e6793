import { expect } from "bun:test";

/** Lists the elements of markup in document order. Throws if it is not well-formed XML. */
export function parse(text: string): { name: string; attributes: Record<string, string>; text: string }[] {
  const elements: { name: string; attributes: Record<string, string>; text: string }[] = [];
  const open: (typeof elements)[number][] = [];
  const pattern = /<(\/?)([a-z]\w*)((?: [\w-]+="[^"<]*")*)(\/?)>|([^<]+)/gy;
  let end = 0;
  for (const [whole, closing, name, attributes, alone, content] of text.matchAll(pattern)) {
    end += whole.length;
    if (content !== undefined) {
      expect(content.replace(/&(amp|lt|gt|quot|#39);/g, "")).not.toContain("&");
      for (const element of open) element.text += content;
    } else if (closing) {
      expect(open.pop()?.name).toBe(name);
    } else {
      const pairs = [...attributes.matchAll(/ ([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value]);
      expect(new Set(pairs.map(([key]) => key)).size, whole).toBe(pairs.length);
      const element = { name, attributes: Object.fromEntries(pairs), text: "" };
      elements.push(element);
      if (!alone) open.push(element);
    }
  }
  expect(text.slice(end, end + 80)).toBe("");
  expect(open).toEqual([]);
  return elements;
}

export const svgs = (html: string): string[] => html.match(/<svg.*?<\/svg>/gs) ?? [];
/** All numbers in a path or another attribute. */
export const numbersOf = (text: string): number[] => (text.match(/-?\d+(\.\d+)?/g) ?? []).map(Number);
