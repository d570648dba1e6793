import type { Scatter } from "../../../runtime/experiments/framework/figure.ts";
import { type Markup, markup } from "../markup/html.ts";
import { extent, linear } from "../markup/scale.ts";
import {
  axes,
  type Box,
  type Chart,
  colour,
  fitted,
  labelRoom,
  legend,
  round,
  svg,
  symbol,
  textWidth,
  WIDTH,
} from "./frame.ts";

/** Font size of labels. */
const SIZE = 10.5;
const RADIUS = 3.6;
/** Maximum width of a label. */
const LONGEST = 140;
/** Full page width in SVG units. */
const PAGE = 900;

/** Draws a scatter plot in column width and in page width, where more labels fit. */
export function drawScatter(figure: Scatter): Chart {
  const groups = [...new Set(figure.points.map(({ group }) => group))];
  const styleOf = (group: string | undefined) => groups.indexOf(group);
  const named = groups.filter((group) => group !== undefined);
  return {
    legend: legend(named.map((name) => ({ name, sample: symbol(styleOf(name), 10, 6) }))),
    drawing: scatter(figure, styleOf, { width: WIDTH, height: 400 }),
    wide: scatter(figure, styleOf, { width: PAGE, height: 600 }),
  };
}

function scatter(
  figure: Scatter,
  styleOf: (group: string | undefined) => number,
  { width, height }: { width: number; height: number },
): Markup {
  const { points } = figure;
  const box: Box = { left: 0, right: width - 8, top: 24, bottom: height - 40 };
  const y = linear(extent(points.map(({ y }) => y)), [box.bottom, box.top], { round: true });
  box.left = labelRoom(y.ticks.map(({ label }) => label));
  const x = linear(extent(points.map(({ x }) => x)), [box.left + 8, box.right - 8], { ticks: width / 90 });
  const placed = points.map((point) => ({ ...point, px: x.at(point.x), py: y.at(point.y) }));
  return svg(
    figure.title,
    { width, height },
    markup`${axes(box, { x, y }, figure)}<g class="points">${placed.map(
      ({ px, py, label, group }) =>
        markup`<g>${symbol(styleOf(group), px, py, RADIUS)}${
          (label ?? group) && markup`<title>${[label, group].filter(Boolean).join(" · ")}</title>`
        }</g>`,
    )}</g><g class="labels">${labels(placed, box, styleOf)}</g>`,
  );
}

/** A point in drawing coordinates. */
interface PlacedPoint {
  px: number;
  py: number;
  label?: string;
  group?: string;
}

/** A rectangle by its edges. */
type Rectangle = readonly [left: number, top: number, right: number, bottom: number];

/** Labels beside their points, omitting those that would overlap another label or a point. */
function labels(
  points: readonly PlacedPoint[],
  box: Box,
  styleOf: (group: string | undefined) => number,
): (Markup | undefined)[] {
  const taken: Rectangle[] = points.map(({ px, py }) => [px - RADIUS, py - RADIUS, px + RADIUS, py + RADIUS]);
  return points.map(({ px, py, label, group }) => {
    if (!label) return undefined;
    const text = fitted(label, LONGEST, SIZE);
    const width = textWidth(text, SIZE);
    const options = [
      { x: px + 6, y: py + 3.5, anchor: "start", left: px + 5 },
      { x: px - 6, y: py + 3.5, anchor: "end", left: px - 7 - width },
      { x: px, y: py - 6.5, anchor: "middle", left: px - width / 2 },
      { x: px, y: py + 13.5, anchor: "middle", left: px - width / 2 },
    ];
    for (const { x, y, anchor, left } of options) {
      const area: Rectangle = [left, y - 8.5, left + width + 2, y + 2.5];
      const inside =
        area[0] >= box.left && area[2] <= box.right + 6 && area[1] >= box.top - 6 && area[3] <= box.bottom;
      if (!inside || taken.some((other) => overlap(area, other))) continue;
      taken.push(area);
      return markup`<text class="${colour(styleOf(group))}" x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${text}</text>`;
    }
    return undefined;
  });
}

const overlap = (a: Rectangle, b: Rectangle): boolean =>
  a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
