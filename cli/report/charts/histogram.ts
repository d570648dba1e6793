import type { Histogram } from "../../../runtime/experiments/framework/figure.ts";
import { markup } from "../markup/html.ts";
import { short } from "../markup/numbers.ts";
import { extent, linear } from "../markup/scale.ts";
import { axes, type Box, type Chart, labelRoom, legend, round, svg, textWidth, WIDTH } from "./frame.ts";

const HEIGHT = 190;

/** Draws a histogram. @param shared figures that share the axes, including `figure` */
export function drawHistogram(figure: Histogram, shared: readonly Histogram[] = [figure]): Chart {
  const { edges, counts, observed } = figure;
  const box: Box = { left: 0, right: WIDTH - 8, top: 26, bottom: HEIGHT - 40 };
  const most = Math.max(1, ...shared.flatMap(({ counts }) => counts));
  const y = linear([0, most], [box.bottom, box.top], { ticks: 4, round: true });
  box.left = labelRoom(y.ticks.map(({ label }) => label));
  const range = extent(shared.flatMap(({ edges, observed }) => [...edges, observed]));
  const x = linear(range, [box.left + 8, box.right - 8]);

  const bins = counts.map((count, i) => {
    if (count === 0) return undefined;
    const [from, to] = [x.at(edges[i]), x.at(edges[i + 1])];
    return markup`<path d="M${round(from)} ${round(box.bottom)}V${round(y.at(count))}H${round(Math.max(from + 0.6, to))}V${round(box.bottom)}z"/>`;
  });
  const here = x.at(observed);
  const label = `observed ${short(observed)}`;
  const isRight = here + textWidth(label) + 8 > box.right;
  return {
    legend: legend([
      { name: "chance", sample: markup`<g class="bins"><path d="M3 12V5H8V1H13V7H18V12z"/></g>` },
      { name: "observed", sample: markup`<path class="observed" d="M10 0V12"/>` },
    ]),
    drawing: svg(
      figure.title,
      { height: HEIGHT },
      markup`${axes(box, { x, y }, { x: figure.x, y: { label: "draws" } })}<g class="bins">${bins}</g><path class="observed" d="M${round(here)} ${round(box.bottom)}V${round(box.top - 8)}"/><text class="observed" x="${round(here + (isRight ? -5 : 5))}" y="${round(box.top - 1)}" text-anchor="${isRight ? "end" : "start"}">${label}</text>`,
    ),
  };
}
