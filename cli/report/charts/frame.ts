/** Shared parts of charts: the SVG frame, axes, legends, and text fitting. */
import type { Axis } from "../../../runtime/experiments/framework/figure.ts";
import { type Markup, markup } from "../markup/html.ts";
import type { Scale } from "../markup/scale.ts";

/** Width of a chart in one column, and font size, in SVG units (about one CSS pixel). */
export const WIDTH = 400;
export const TEXT = 11.5;

/** The area in which data are drawn. */
export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** Formats a coordinate or length, rounded to a tenth of a unit: "12.3". */
export const round = (x: number): string => String(Math.round(10 * x) / 10);

export function svg(
  title: string,
  { width = WIDTH, height }: { width?: number; height: number },
  body: Markup,
) {
  return markup`<svg viewBox="0 0 ${round(width)} ${round(height)}" role="img" aria-label="${title}">${body}</svg>`;
}

/** Approximate width of text in a font like Helvetica. The actual width depends on the reader's fonts. */
export function textWidth(text: string, size = TEXT): number {
  let ems = 0;
  for (const character of text) {
    if (/[iljtfrI.,:;'|!() ·-]/.test(character)) ems += 0.31;
    else if (/[mwMW@%—]/.test(character)) ems += 0.88;
    else if (/[\p{Lu}]/u.test(character)) ems += 0.69;
    else ems += character > "\u2e80" ? 1.05 : 0.56;
  }
  return ems * size;
}

/** Truncates text to a maximum width, with an ellipsis. */
export function fitted(text: string, room: number, size = TEXT): string {
  if (textWidth(text, size) <= room) return text;
  const characters = [...text];
  while (characters.length > 1 && textWidth(`${characters.join("")}…`, size) > room) characters.pop();
  return `${characters.join("").trimEnd()}…`;
}

/** Title of an axis with its unit: "cross-entropy (nats per token)". */
export const axisTitle = ({ label, unit }: Axis): string => (unit ? `${label} (${unit})` : label);

/** Width required by the labels of the vertical axis. */
export const labelRoom = (labels: readonly string[]): number =>
  Math.max(0, ...labels.map((label) => textWidth(label))) + 8;

/** Draws both axes with ticks and titles. The vertical axis has horizontal rules, and its title above it. */
export function axes(box: Box, { x, y }: { x: Scale; y: Scale }, titles: { x?: Axis; y?: Axis }): Markup {
  return markup`<g class="rules">${y.ticks.map(
    ({ value }) => markup`<path d="M${round(box.left)} ${round(y.at(value))}H${round(box.right)}"/>`,
  )}</g><g class="ticks">${y.ticks.map(
    ({ value, label }) =>
      markup`<text x="${round(box.left - 6)}" y="${round(y.at(value) + 4)}" text-anchor="end">${label}</text>`,
  )}${acrossLabels(box, x)}</g>${axisTitles(box, titles)}`;
}

/** Labels of the horizontal axis, omitting those that would overlap. */
function acrossLabels({ bottom }: Box, { at: place, ticks }: Scale): Markup[] {
  let end = -Infinity;
  const labels: Markup[] = [];
  for (const { value, label } of ticks) {
    const half = textWidth(label) / 2;
    if (place(value) - half < end + 5) continue;
    end = place(value) + half;
    labels.push(
      markup`<path d="M${round(place(value))} ${round(bottom)}v4"/><text x="${round(place(value))}" y="${round(bottom + 16)}" text-anchor="middle">${label}</text>`,
    );
  }
  return labels;
}

function axisTitles({ left, right, bottom }: Box, { x, y }: { x?: Axis; y?: Axis }): Markup {
  return markup`<g class="titles">${
    y && markup`<text x="${round(Math.min(left, 4))}" y="11">${axisTitle(y)}</text>`
  }${
    x &&
    markup`<text x="${round((left + right) / 2)}" y="${round(bottom + 33)}" text-anchor="middle">${axisTitle(x)}</text>`
  }</g>`;
}

/** Point symbols that differ in shape as well as in colour; the sixth group repeats the first shape. */
export function symbol(index: number, x: number, y: number, r = 4): Markup {
  const [a, b] = [r * 1.15, r * 0.9];
  const paths = [
    `M${round(x - r)} ${round(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
    `M${round(x)} ${round(y - a)}L${round(x + a)} ${round(y + b)}H${round(x - a)}z`,
    `M${round(x - b)} ${round(y - b)}h${round(2 * b)}v${round(2 * b)}h${round(-2 * b)}z`,
    `M${round(x)} ${round(y - 1.3 * r)}L${round(x + 1.1 * r)} ${round(y)}L${round(x)} ${round(y + 1.3 * r)}L${round(x - 1.1 * r)} ${round(y)}z`,
    `M${round(x)} ${round(y + a)}L${round(x + a)} ${round(y - b)}H${round(x - a)}z`,
  ];
  return markup`<path class="${colour(index)}" d="${paths[index % paths.length]}"/>`;
}

const COLOURS = 6;
/** CSS class of a group's colour. */
export const colour = (index: number): string => `c${index % COLOURS}`;

export interface LegendEntry {
  name: string;
  /** Drawing of 20 by 12 units. */
  sample: Markup;
}

export function legend(entries: readonly LegendEntry[]): Markup | undefined {
  if (entries.length === 0) return undefined;
  return markup`<ul class="legend">${entries.map(
    ({ name, sample }) =>
      markup`<li><svg viewBox="0 0 20 12" width="20" height="12" aria-hidden="true">${sample}</svg>${name}</li>`,
  )}</ul>`;
}

/** A drawn figure. */
export interface Chart {
  legend?: Markup;
  /** Version for one column of the page. */
  drawing: Markup;
  /** Version for the full page width, if it shows more. */
  wide?: Markup;
}
