import type { Lines, Series } from "../../../runtime/experiments/framework/figure.ts";
import { type Markup, markup } from "../markup/html.ts";
import { extent, linear, logarithmic, type Scale } from "../markup/scale.ts";
import { axes, type Box, type Chart, colour, labelRoom, legend, round, svg, symbol, WIDTH } from "./frame.ts";

const HEIGHT = 250;
/** Lines with at most this many points show a symbol at each point. */
const FEW = 24;

/** Draws a line chart. @param shared figures that share the axes, including `figure` */
export function drawLines(figure: Lines, shared: readonly Lines[] = [figure]): Chart {
  const all = shared.flatMap(({ series }) => series);
  const box: Box = { left: 0, right: WIDTH - 8, top: 24, bottom: HEIGHT - 40 };
  const xs = all.flatMap(({ x }) => x);
  const ys = all.flatMap(({ y, low = [], high = [] }) => [...y, ...low, ...high]);
  const y = figure.y.log
    ? logarithmic(ys, [box.bottom, box.top])
    : linear(extent(ys), [box.bottom, box.top], { round: true });
  box.left = labelRoom(y.ticks.map(({ label }) => label));
  const across: [number, number] = [box.left + 6, box.right - 6];
  const x = figure.x.log ? logarithmic(xs, across, { few: 8 }) : linear(extent(xs), across, { ticks: 6 });

  let coloured = 0;
  const drawn = figure.series.map((series) => ({
    series,
    style: series.isNull ? undefined : coloured++,
  }));
  // Null series are drawn first, below observations.
  const order = [...drawn].sort(
    (a, b) => Number(b.series.isNull ?? false) - Number(a.series.isNull ?? false),
  );
  return {
    legend: legend(
      drawn.map(({ series, style }) => ({
        name: series.name,
        sample: markup`<g class="${classOf(style)}"><path class="line" d="M1 6H19"/>${
          isSparse(series) && style !== undefined && symbol(style, 10, 6, 3)
        }</g>`,
      })),
    ),
    drawing: svg(
      figure.title,
      { height: HEIGHT },
      markup`${axes(box, { x, y }, figure)}${order.map(({ series, style }) => line(series, style, { x, y }))}`,
    ),
  };
}

const classOf = (style: number | undefined): string =>
  style === undefined ? "null" : `${colour(style)} d${style % 4}`;
const isSparse = ({ x }: Series): boolean => x.length <= FEW;

function line(series: Series, style: number | undefined, { x, y }: { x: Scale; y: Scale }): Markup {
  const place = (values: readonly number[]) =>
    series.x.map((value, i) => [x.at(value), y.at(values[i])] as const);
  const { low, high } = series;
  const points = place(series.y);
  return markup`<g class="${classOf(style)}">${low && high && markup`<path class="band" d="${band(place(low), place(high))}"/>`}<path class="line" d="${path(points)}"/>${
    isSparse(series) &&
    points
      .filter((point) => point.every(Number.isFinite))
      .map(([px, py]) => (style === undefined ? "" : symbol(style, px, py, 2.8)))
  }</g>`;
}

type Points = readonly (readonly [number, number])[];

/** Path through the points, with gaps at points that cannot be shown. */
function path(points: Points): string {
  let text = "";
  let pen = "M";
  for (const [x, y] of points) {
    if (Number.isFinite(x) && Number.isFinite(y)) {
      text += `${pen}${round(x)} ${round(y)}`;
      pen = "L";
    } else {
      pen = "M";
    }
  }
  return text;
}

function band(low: Points, high: Points): string {
  const shown = low.map((point, i) => [point, high[i]]).filter((ends) => ends.flat().every(Number.isFinite));
  if (shown.length === 0) return "";
  const there = shown.map(([below]) => below);
  const back = shown.map(([, above]) => above).reverse();
  return `${path([...there, ...back])}z`;
}
