import { Markup, markup } from "./html.ts";
import { STYLE } from "./style.ts";

export interface Page {
  title: string;
  /** Table of contents, shown beside the text, or above it on narrow screens. */
  contents: readonly { id: string; name: string; remark?: string }[];
  head: Markup;
  sections: readonly Markup[];
  foot: Markup;
}

/** Renders a self-contained HTML document without scripts or external resources. */
export function renderPage({ title, contents, head, sections, foot }: Page): string {
  const { text } = markup`<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>${title}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<div class="page">
<header>${head}</header>
<nav aria-label="Contents"><ol>${contents.map(
    ({ id, name, remark }) =>
      markup`<li><a href="#${id}"><span>${name}</span>${remark && markup`<small>${remark}</small>`}</a></li>`,
  )}</ol></nav>
<main>${sections}</main>
<footer>${foot}</footer>
</div>
</body>
</html>
`;
  return `<!doctype html>\n${text}`;
}
