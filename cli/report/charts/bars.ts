import type { Bars } from "../../../runtime/experiments/framework/figure.ts";
import { type Markup, markup } from "../markup/html.ts";
import { short } from "../markup/numbers.ts";
import { extent, linear } from "../markup/scale.ts";
import {
  axisTitle,
  type Box,
  type Chart,
  fitted,
  legend,
  round,
  svg,
  TEXT,
  textWidth,
  WIDTH,
} from "./frame.ts";

type Bar = Bars["bars"][number];

/** Names up to this width are placed beside their bars, longer ones above. */
const BESIDE = 110;

/** Draws a bar chart. @param shared figures that share the axis, including `figure` */
export function drawBars(figure: Bars, shared: readonly Bars[] = [figure]): Chart {
  const { bars } = figure;
  const all = shared.flatMap(({ bars }) => bars);
  const names = Math.max(0, ...all.map(({ name }) => textWidth(name)));
  const beside = names <= BESIDE;
  const values = Math.max(0, ...all.map(({ value }) => textWidth(short(value))));
  const rowHeight = beside ? 22 : 37;
  const box: Box = {
    left: beside ? names + 10 : 2,
    right: WIDTH - (beside ? values + 10 : 2),
    top: 24,
    bottom: 24 + rowHeight * bars.length,
  };
  const range = extent([
    0,
    ...all.flatMap(({ value, low, high, null: chance }) => [value, low, high, chance]),
  ]);
  const x = linear(range, [box.left, box.right], { round: true });

  const row = ({ name, value, low, high, null: chance }: Bar, i: number): Markup => {
    const top = box.top + rowHeight * i;
    const middle = top + (beside ? 11 : 26);
    const text = top + (beside ? 15 : 14);
    const [from, to] = [Math.min(x.at(0), x.at(value)), Math.max(x.at(0), x.at(value))];
    return markup`<g><text x="${round(beside ? box.left - 8 : box.left)}" y="${round(text)}"${
      beside ? markup` text-anchor="end"` : undefined
    }>${fitted(name, beside ? BESIDE : WIDTH - values - 14)}<title>${name}</title></text><text class="value" x="${round(
      WIDTH - 2,
    )}" y="${round(text)}" text-anchor="end">${short(value)}</text><path class="bar" d="M${round(from)} ${round(
      middle - 5,
    )}h${round(Math.max(0.5, to - from))}v10h${round(-Math.max(0.5, to - from))}z"/>${
      low !== undefined &&
      high !== undefined &&
      markup`<path class="whisker" d="M${round(x.at(low))} ${round(middle)}H${round(x.at(high))}M${round(x.at(low))} ${round(middle - 3)}v6M${round(x.at(high))} ${round(middle - 3)}v6"/>`
    }${
      chance !== undefined && [
        markup`<path class="halo" d="M${round(x.at(chance))} ${round(middle - 6)}v12"/>`,
        markup`<path class="chance" d="M${round(x.at(chance))} ${round(middle - 7)}v14"/>`,
      ]
    }</g>`;
  };

  const scale = markup`<g class="rules">${x.ticks.map(
    ({ value }) =>
      markup`<path${value === 0 ? markup` class="zero"` : undefined} d="M${round(x.at(value))} ${round(box.top)}V${round(box.bottom + 4)}"/>`,
  )}</g><g class="ticks">${x.ticks.map(
    ({ value, label }) =>
      markup`<text x="${round(x.at(value))}" y="${round(box.bottom + 17)}" text-anchor="${anchor(x.at(value), label)}">${label}</text>`,
  )}</g><g class="titles"><text x="${round(box.left)}" y="11">${axisTitle(figure.y)}</text></g>`;
  return {
    legend: legend([
      ...(bars.some((bar) => bar.null !== undefined)
        ? [{ name: "chance", sample: markup`<path class="chance" d="M10 0V12"/>` }]
        : []),
      ...(bars.some(({ low }) => low !== undefined)
        ? [{ name: "interval or range", sample: markup`<path class="whisker" d="M2 6H18M2 3v6M18 3v6"/>` }]
        : []),
    ]),
    drawing: svg(figure.title, { height: box.bottom + TEXT + 12 }, markup`${scale}${bars.map(row)}`),
  };
}

/** Text anchor that keeps a label inside the drawing. */
function anchor(x: number, label: string): "start" | "middle" | "end" {
  const half = textWidth(label) / 2;
  if (x < half) return "start";
  return x > WIDTH - half ? "end" : "middle";
}
