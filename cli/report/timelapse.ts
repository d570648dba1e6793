/** The time-lapse page: how the recipes and neighbours of watched tokens formed during training. */
import type { Figure, Heatmap, Lines, Table } from "../../runtime/experiments/framework/figure.ts";
import type { WatchLine } from "../../trainer/monitoring/watch.ts";
import { renderFigure } from "./figure.ts";
import { type Markup, markup } from "./markup/html.ts";
import { grouped } from "./markup/numbers.ts";
import { renderPage } from "./markup/page.ts";

/** A watched token and its state at each evaluation. */
interface WatchedToken {
  word: string;
  history: { step: number; token: WatchLine["tokens"][number] }[];
}

const STEP = { label: "step" };
/** Maximum number of signals shown, of rows in a table, and of lines in a figure. */
const [SIGNALS, ROWS, LINES] = [16, 14, 6];

/** Renders the page as a complete HTML document. The output is a deterministic function of the lines. */
export function renderTimelapse(lines: readonly WatchLine[]): string {
  const words = [...new Set(lines.flatMap(({ tokens }) => tokens.map(({ word }) => word)))];
  const watched = words.map(
    (word): WatchedToken => ({
      word,
      history: lines.flatMap(({ step, tokens }) =>
        tokens.filter((token) => token.word === word).map((token) => ({ step, token })),
      ),
    }),
  );
  const [first, last] = [lines[0].step, lines[lines.length - 1].step];
  const evaluations = lines.length > 1 ? `${lines.length} evaluations` : "One evaluation";
  const when =
    lines.length > 1
      ? `from step ${grouped(first, 0)} to step ${grouped(last, 0)}`
      : `at step ${grouped(first, 0)}`;
  const signals = watched.map(signalMap);
  const neighbours = watched.map(neighbourTable);
  return renderPage({
    title: `How ${listed(words)} formed`,
    contents: [
      { id: "together", name: "overview" },
      { id: "recipes", name: "recipes" },
      { id: "neighbours", name: "neighbours" },
    ],
    head: markup`<h1>How ${listed(words)} formed</h1><p class="summary">${evaluations} of a model in training, ${when}.</p>`,
    sections: [
      section(
        "together",
        "Overview",
        together(lines, watched).map((figure) => renderFigure(figure)),
      ),
      section(
        "recipes",
        "Recipes by signal",
        signals.map((figure) => renderFigure(figure, { beside: signals, inColumn: true })),
      ),
      section(
        "neighbours",
        "Nearest neighbours",
        neighbours.map((figure) => renderFigure(figure)),
      ),
    ],
    foot: markup`<p>Made by <code>bun run cli timelapse</code> from the run’s <code>watch.jsonl</code>, which holds the complete recipes. Single signals are coordinates that the loss does not determine; <code>bun run cli probe</code> tests which of their properties exceed chance.</p>`,
  });
}

const section = (id: string, title: string, figures: readonly Markup[]): Markup =>
  markup`<section id="${id}"><h2>${title}</h2><div class="figures">${figures}</div></section>\n`;

function listed(words: readonly string[]): string {
  const shown = words.length > 4 ? [...words.slice(0, 3), `${words.length - 3} more`] : words;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown[shown.length - 1]}` : shown[0];
}

function together(lines: readonly WatchLine[], grown: readonly WatchedToken[]): Figure[] {
  const losses = lines.filter(({ valLoss }) => valLoss !== undefined);
  const loss: Lines = {
    type: "lines",
    title: "Validation loss",
    caption: "Overall progress of the model.",
    x: STEP,
    y: { label: "loss", unit: "nats per token" },
    series: [
      { name: "validation", x: losses.map(({ step }) => step), y: losses.map(({ valLoss }) => valLoss!) },
    ],
  };
  const settling: Lines = {
    type: "lines",
    title: "Convergence to the final recipe",
    caption: "The cosine of each word's recipe with its final recipe. Dashed: random recipes.",
    x: STEP,
    y: { label: "cosine" },
    series: [
      ...grown.slice(0, LINES).map(({ word, history }) => ({
        name: word,
        x: history.map(({ step }) => step),
        y: history.map(({ token }) => cosine(token.recipe, history[history.length - 1].token.recipe)),
      })),
      chance(lines),
    ],
  };
  return [...(grown.length > 1 ? [pairs(lines, grown)] : []), settling, ...(losses.length > 1 ? [loss] : [])];
}

/** Cosines of all pairs of words: lines for few pairs, otherwise a heatmap. */
function pairs(lines: readonly WatchLine[], grown: readonly WatchedToken[]): Lines | Heatmap {
  const named = grown.flatMap((a, i) =>
    grown.slice(i + 1).map((b) => ({ name: `${a.word} ↔ ${b.word}`, a, b })),
  );
  const found = named.map(({ name, a, b }) => ({
    name,
    cosines: a.history.flatMap(({ step, token }) => {
      const other = b.history.find((at) => at.step === step);
      return other ? [{ step, value: cosine(token.recipe, other.token.recipe) }] : [];
    }),
  }));
  const titled = {
    title: "Similarity of word pairs",
    caption: "The cosine of two words' recipes.",
  };
  if (found.length <= LINES) {
    return {
      type: "lines",
      ...titled,
      caption: `${titled.caption} Dashed: random recipes.`,
      x: STEP,
      y: { label: "cosine" },
      series: [
        ...found.map(({ name, cosines }) => ({
          name,
          x: cosines.map(({ step }) => step),
          y: cosines.map(({ value }) => value),
        })),
        chance(lines),
      ],
    };
  }
  return {
    type: "heatmap",
    ...titled,
    x: STEP,
    y: { label: "pair" },
    value: { label: "cosine" },
    columns: lines.map(({ step }) => String(step)),
    rows: found.map(({ name }) => name),
    values: found.map(({ cosines }) =>
      lines.map(({ step }) => cosines.find((at) => at.step === step)?.value ?? null),
    ),
  };
}

/** The 95% band of cosines of random directions, which are approximately normal with mean 0 and standard deviation 1/√S. */
function chance(lines: readonly WatchLine[]): Lines["series"][number] {
  const S = lines[0].tokens[0].recipe.length;
  const reach = 1.96 / Math.sqrt(S);
  const x = [lines[0].step, lines[lines.length - 1].step];
  return {
    name: "random directions, 95%",
    x,
    y: [0, 0],
    low: [-reach, -reach],
    high: [reach, reach],
    isNull: true,
  };
}

/** The strongest signals of the final recipe, over the steps. */
function signalMap({ word, history }: WatchedToken): Heatmap {
  const { recipe } = history[history.length - 1].token;
  const strongest = recipe
    .map((value, signal) => ({ value, signal }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value) || a.signal - b.signal)
    .slice(0, SIGNALS)
    .sort((a, b) => b.value - a.value || a.signal - b.signal);
  return {
    type: "heatmap",
    title: word,
    caption: `The ${strongest.length} strongest signals of its final recipe.`,
    x: STEP,
    y: { label: "signal" },
    value: { label: "recipe weight" },
    columns: history.map(({ step }) => String(step)),
    rows: strongest.map(({ signal }) => String(signal)),
    values: strongest.map(({ signal }) => history.map(({ token }) => token.recipe[signal])),
  };
}

function neighbourTable({ word, history }: WatchedToken): Table {
  const every = Math.ceil(history.length / ROWS);
  const shown = history.filter((_, i) => i % every === 0 || i === history.length - 1);
  const factored = history.every(({ token }) => token.recipes);
  const list = (near: readonly [string, number][] = []) =>
    near.map(([other, cosine]) => `${other} ${cosine.toFixed(2)}`).join(", ");
  return {
    type: "table",
    title: word,
    caption: "The nearest whole words and their cosines.",
    columns: ["step", ...(factored ? ["by recipe"] : []), "by embedding"],
    rows: shown.map(({ step, token: { recipes, embeddings } }) => [
      step,
      ...(factored ? [list(recipes)] : []),
      list(embeddings),
    ]),
  };
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + value * y[i], 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  return lengths > 0 ? dot(a, b) / lengths : 0;
}
