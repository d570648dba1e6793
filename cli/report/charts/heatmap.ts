import type { Heatmap } from "../../../runtime/experiments/framework/figure.ts";
import { type Markup, markup } from "../markup/html.ts";
import { decimalsOf, grouped, short } from "../markup/numbers.ts";
import { extent } from "../markup/scale.ts";
import { axisTitle, type Chart, fitted, round, svg, TEXT, textWidth, WIDTH } from "./frame.ts";

/** Full page width in SVG units, and the maximum height of a cell and width of a name. */
const PAGE = 900;
const HIGHEST = 26;
const NAMES = 110;

/**
 * Draws a heatmap: cells are darker for larger values, with two colours if values have both signs.
 *
 * @param shared figures that share the colour scale, including `figure`
 */
export function drawHeatmap(figure: Heatmap, shared: readonly Heatmap[] = [figure]): Chart {
  const range = extent(shared.flatMap(({ values }) => values.flat()).map((value) => value ?? undefined));
  const shade = shades(range);
  return {
    legend: key(figure, range, shade),
    drawing: heatmap(figure, shade, WIDTH),
    wide: heatmap(figure, shade, PAGE),
  };
}

interface Shade {
  isNegative: boolean;
  /** 0 to 1 */
  strength: number;
}

function shades([low, high]: readonly [number, number]): (value: number) => Shade {
  const isDiverging = low < 0 && high > 0;
  const most = Math.max(-low, high);
  return (value) =>
    isDiverging
      ? { isNegative: value < 0, strength: Math.abs(value) / most }
      : { isNegative: false, strength: (value - low) / (high - low) };
}

/** Weak cells are translucent, so that they work on light and dark backgrounds. */
const fill = ({ isNegative, strength }: Shade): Markup =>
  markup`class="${isNegative ? "cold" : "warm"}" fill-opacity="${Math.round(100 * (0.04 + 0.96 * strength)) / 100}"`;

function heatmap(figure: Heatmap, shade: (value: number) => Shade, width: number): Markup {
  const { columns, rows, values } = figure;
  const left = Math.min(NAMES, Math.max(0, ...rows.map((row) => textWidth(row)))) + 8;
  const top = 22;
  const cell = (width - left - 2) / Math.max(1, columns.length);
  const height = Math.min(HIGHEST, Math.max(14, cell));
  const bottom = top + height * rows.length;
  const centres = columns.map((_, i) => left + cell * (i + 0.5));
  const decimals = decimalsOf(values.flat().filter((value) => value !== null));
  const write = (value: number) =>
    decimals === undefined ? short(value, 2) : grouped(value, Math.min(2, decimals));
  const texts = values.map((row) => row.map((value) => (value === null ? "" : write(value))));
  const showsValues = texts.flat().every((text) => textWidth(text, TEXT - 1) <= cell - 4) && height >= 16;

  const cells = values.map((row, i) =>
    row.map((value, j) => {
      const y = top + height * i;
      if (value === null) return undefined;
      const shown = shade(value);
      const name = `${rows[i]}, ${columns[j]}: ${short(value)}`;
      return markup`<g><path ${fill(shown)} d="M${round(left + cell * j)} ${round(y)}h${round(cell - 1)}v${round(height - 1)}h${round(1 - cell)}z"/>${
        showsValues &&
        markup`<text${shown.strength > 0.55 ? markup` class="on"` : undefined} x="${round(centres[j])}" y="${round(y + height / 2 + 3.5)}" text-anchor="middle">${texts[i][j]}</text>`
      }<title>${name}</title></g>`;
    }),
  );
  const names = columnNames(columns, centres, { top: bottom, cell });
  return svg(
    figure.title,
    { width, height: bottom + names.height + 24 },
    markup`<g class="titles"><text x="0" y="11">${axisTitle(figure.y)}</text><text x="${round((left + width) / 2)}" y="${round(bottom + names.height + 18)}" text-anchor="middle">${axisTitle(figure.x)}</text></g><g class="ticks">${rows.map(
      (row, i) =>
        markup`<text x="${round(left - 6)}" y="${round(top + height * (i + 0.5) + 3.5)}" text-anchor="end">${fitted(row, NAMES)}</text>`,
    )}${names.text}</g><g class="cells">${cells}</g>`,
  );
}

/** Column names below the cells: rotated if they would overlap; for numbers, only every few are shown. */
function columnNames(
  columns: readonly string[],
  centres: readonly number[],
  { top, cell }: { top: number; cell: number },
): { text: Markup[]; height: number } {
  const widest = Math.max(0, ...columns.map((column) => textWidth(column)));
  const areNumbers = columns.every((column) => /^[\d.,−-]+$/.test(column));
  if (widest > cell - 3 && !areNumbers) {
    return {
      text: columns.map((column, i) => {
        const [x, y] = [round(centres[i] + 4), round(top + 5)];
        return markup`<text x="${x}" y="${y}" text-anchor="end" transform="rotate(-90 ${x} ${y})">${fitted(column, NAMES)}</text>`;
      }),
      height: Math.min(NAMES, widest) + 8,
    };
  }
  const every = Math.max(1, Math.ceil((widest + 6) / cell));
  return {
    text: columns.flatMap((column, i) =>
      i % every === 0
        ? [
            markup`<text x="${round(centres[i])}" y="${round(top + 15)}" text-anchor="middle">${column}</text>`,
          ]
        : [],
    ),
    height: 16,
  };
}

const STEPS = 9;

/** The colour scale's legend. */
function key(
  { value }: Heatmap,
  [low, high]: readonly [number, number],
  shade: (value: number) => Shade,
): Markup {
  const steps = Array.from({ length: STEPS }, (_, i) => low + ((high - low) * i) / (STEPS - 1));
  return markup`<p class="legend key"><span>${axisTitle(value)}</span> <span>${short(low)}</span><svg viewBox="0 0 ${12 * STEPS} 12" width="${12 * STEPS}" height="12" aria-hidden="true">${steps.map(
    (step, i) => markup`<path ${fill(shade(step))} d="M${12 * i} 0h12v12h-12z"/>`,
  )}</svg><span>${short(high)}</span></p>`;
}
