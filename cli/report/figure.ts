/** Rendered figures: title, caption, chart, and the numbers in a table. */
import type { Figure, Table } from "../../runtime/experiments/framework/figure.ts";
import { drawBars } from "./charts/bars.ts";
import { axisTitle, type Chart } from "./charts/frame.ts";
import { drawHeatmap } from "./charts/heatmap.ts";
import { drawHistogram } from "./charts/histogram.ts";
import { drawLines } from "./charts/lines.ts";
import { drawScatter } from "./charts/scatter.ts";
import { type Markup, markup, typeset } from "./markup/html.ts";
import { short } from "./markup/numbers.ts";
import { table } from "./markup/table.ts";

export interface FigureOptions {
  /** Figures to compare with. Those of the same type share axes or colours. */
  beside?: readonly Figure[];
  /** Limits the figure to the width of one column. */
  inColumn?: boolean;
  /** Name of the figure's model, when several models are shown. */
  tag?: string;
}

/**
 * Figures of an experiment: wide charts first, then narrow figures in two columns, then wide tables.
 */
export function renderFigures(figures: readonly Figure[]): Markup {
  const drawings = figures.filter((figure) => figure.type !== "table" && isWide(figure));
  const tables = figures.filter((figure) => figure.type === "table" && isWide(figure));
  const columns: { height: number; figures: Figure[] }[] = [
    { height: 0, figures: [] },
    { height: 0, figures: [] },
  ];
  for (const figure of figures) {
    if (isWide(figure)) continue;
    const [first, second] = columns;
    const column = second.height < first.height ? second : first;
    column.figures.push(figure);
    column.height += heightOf(figure);
  }
  const wide = (list: readonly Figure[]) => list.map((figure) => renderFigure(figure));
  return markup`<div class="figures">${wide(drawings)}${
    columns[0].figures.length > 0 && columns.map(({ figures }) => markup`<div>${wide(figures)}</div>`)
  }${wide(tables)}</div>`;
}

/** Approximate height in a column, including the title, in pixels. */
function heightOf(figure: Figure): number {
  switch (figure.type) {
    case "table":
      return 110 + 26 * figure.rows.length;
    case "bars":
      return 170 + 34 * figure.bars.length;
    case "heatmap":
      return 180 + 20 * figure.rows.length;
    default:
      return figure.type === "histogram" ? 320 : 380;
  }
}

export function renderFigure(figure: Figure, { beside, inColumn, tag }: FigureOptions = {}): Markup {
  const head = markup`<figcaption><h3>${tag && markup`<span class="tag">${tag}</span> `}${typeset(figure.title)}</h3><p>${typeset(figure.caption)}</p></figcaption>`;
  const wide = !inColumn && isWide(figure);
  if (figure.type === "table") {
    return markup`<figure${wide && markup` class="wide"`}>${head}<div class="scrolls">${table(
      figure.columns,
      figure.rows,
      { stacks: figure.columns.length > 3 && cellLengths(figure).some((length) => length > SENTENCE) },
    )}</div></figure>`;
  }
  const { legend, drawing, wide: broad } = draw(figure, beside);
  const numbers = markup`<details><summary>Numbers</summary><div class="scrolls">${data(figure)}</div></details>`;
  if (!wide) return markup`<figure>${head}${legend}${drawing}${numbers}</figure>`;
  return markup`<figure class="wide">${head}${legend}<div class="narrow">${drawing}</div><div class="broad">${broad}</div>${numbers}</figure>`;
}

function draw(figure: Exclude<Figure, Table>, beside: readonly Figure[] = []): Chart {
  /** The figure and the figures of the same type that share its axes. */
  const shared = <F extends Figure>(own: F): F[] => [
    own,
    ...beside.filter((other): other is F => other.type === own.type && other !== own),
  ];
  switch (figure.type) {
    case "lines":
      return drawLines(figure, shared(figure));
    case "bars":
      return drawBars(figure, shared(figure));
    case "scatter":
      return drawScatter(figure);
    case "heatmap":
      return drawHeatmap(figure, shared(figure));
    case "histogram":
      return drawHistogram(figure, shared(figure));
  }
}

/** Maximum number of table characters and of heatmap cells in a column. */
const [LETTERS, CELLS] = [56, 14];

/** Whether the figure benefits from the full page width. */
function isWide(figure: Figure): boolean {
  if (figure.type === "scatter") return true;
  if (figure.type === "heatmap") return figure.columns.length > CELLS;
  if (figure.type !== "table") return false;
  const names = figure.columns.map((name) => name.length / 2); // a name may take two lines
  const widths = cellLengths(figure).map((length, j) => Math.max(length, names[j]));
  return widths.reduce((sum, width) => sum + width + 3, 0) > LETTERS;
}

/** Longer cells are treated as prose: on narrow screens the cells of a row are stacked. */
const SENTENCE = 28;

/** Length of the longest cell in each column, in characters. */
const cellLengths = ({ columns, rows }: Table): number[] =>
  columns.map((_, j) => Math.max(0, ...rows.map((row) => textOf(row[j]).length)));

const textOf = (cell: string | number): string => (typeof cell === "number" ? short(cell) : cell);

/** The numbers of a figure as tables. */
function data(figure: Exclude<Figure, Table>): Markup {
  switch (figure.type) {
    case "lines":
      return markup`${figure.series.map(({ name, x, y, low, high }) => {
        const ends = low && high ? ["from", "to"] : [];
        const rows = x.map((value, i) => [value, y[i], ...(low && high ? [low[i], high[i]] : [])]);
        return markup`<h4>${name}</h4>${table([axisTitle(figure.x), axisTitle(figure.y), ...ends], rows)}`;
      })}`;
    case "bars": {
      const { bars } = figure;
      const extra = (["low", "high", "null"] as const).filter((key) =>
        bars.some((bar) => bar[key] !== undefined),
      );
      const names = { low: "from", high: "to", null: "chance" };
      return table(
        ["", axisTitle(figure.y), ...extra.map((key) => names[key])],
        bars.map((bar) => [bar.name, bar.value, ...extra.map((key) => bar[key])]),
      );
    }
    case "scatter":
      return table(
        ["", "group", axisTitle(figure.x), axisTitle(figure.y)],
        figure.points.map(({ label, group, x, y }) => [label, group, x, y]),
      );
    case "heatmap":
      return table(
        [axisTitle(figure.y), ...figure.columns],
        figure.rows.map((row, i) => [row, ...figure.values[i].map((value) => value ?? undefined)]),
        { alike: true },
      );
    case "histogram":
      return markup`<p>Observed: ${short(figure.observed, 6)}</p>${table(
        ["from", "to", "draws"],
        figure.counts.flatMap((count, i) => (count ? [[figure.edges[i], figure.edges[i + 1], count]] : [])),
      )}`;
  }
}
