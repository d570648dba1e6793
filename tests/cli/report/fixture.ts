/** Synthetic results: every type of figure, claims that hold and that do not, and text that attempts HTML injection. */

import type { Results } from "../../../cli/report/results.ts";
import { resolveConfig } from "../../../runtime/config/config.ts";
import { PRESETS } from "../../../runtime/config/presets.ts";
import type { Claim } from "../../../runtime/experiments/certificate.ts";
import { type Figure, histogram } from "../../../runtime/experiments/framework/figure.ts";
import { CLAIMS, type ClaimId, type ExperimentId } from "../../../runtime/experiments/registry.ts";
import type { ExperimentResult } from "../../../runtime/experiments/suite.ts";

export const HOSTILE = `</text></td><script>alert("1")</script><img src=x onerror='alert(2)'>&amp;]]>--><!-- \u202e\0\ud800`;

export const FIGURES: Readonly<Record<Figure["type"], Figure>> = {
  lines: {
    type: "lines",
    title: "Cross-entropy, by entries kept",
    caption: "Of each recipe the k entries of largest size are kept; the rightmost are all.",
    x: { label: "k", log: true },
    y: { label: "cross-entropy", unit: "nats a token" },
    series: [
      { name: "cut after training", x: [8, 16, 32, 64, 128], y: [9.125, 7.5, 6.25, 5.5, 4.875] },
      {
        name: "random rotations",
        x: [8, 16, 32, 64, 128],
        y: [9.5, 8.25, 7, 5.75, 4.875],
        low: [9.25, 8, 6.75, 5.5, 4.875],
        high: [9.75, 8.5, 7.25, 6, 4.875],
        isNull: true,
      },
      { name: "trained with top-k", x: [16], y: [5.0625] },
    ],
  },
  bars: {
    type: "bars",
    title: "Silhouette by representation",
    caption: "1 where words stand with their own category only. Marked: permuted categories.",
    y: { label: "silhouette (cosine)" },
    bars: [
      { name: "recipes", value: 0.2281, low: 0.1875, high: 0.2673, null: -0.1184 },
      { name: "embedding", value: 0.4922, null: -0.1184 },
      {
        name: "categories exchanged among words of like frequency",
        value: -0.1129,
        low: -0.165,
        high: -0.073,
      },
    ],
  },
  scatter: {
    type: "scatter",
    title: "Words by their recipes",
    caption: "On the plane in which they differ most.",
    x: { label: "principal component 1" },
    y: { label: "principal component 2" },
    points: [
      ...["one", "two", "three", "four"].map((label, i) => ({
        x: 0.5 + 0.1 * i,
        y: 0.125 * i,
        label,
        group: "numbers",
      })),
      ...["red", "blue", "green"].map((label, i) => ({
        x: -0.4 + 0.011 * i,
        y: -0.3 + 0.0125 * i,
        label,
        group: "colours",
      })),
      { x: 0, y: 0.6789, label: HOSTILE, group: HOSTILE },
    ],
  },
  heatmap: {
    type: "heatmap",
    title: "Where the push is too late",
    caption: "Fraction of prompts whose answer changes, by depth and strength of the intervention.",
    x: { label: "push", unit: "× residual norm" },
    y: { label: "layer" },
    value: { label: "share of prompts" },
    columns: ["0.1", "0.2", "0.4", "0.8", "1.6"],
    rows: ["0", "1", "2", "3"],
    values: [
      [0.0625, 0.3125, 0.75, 0.9375, 1],
      [0, 0.25, 0.6875, 0.875, 1],
      [0, 0.125, 0.4375, 0.8125, 0.9375],
      [0, 0, 0.1875, null, 0.5625],
    ],
  },
  histogram: histogram(
    { title: "Permuted categories", caption: "How the figure is spread where categories say nothing." },
    { label: "silhouette (cosine)" },
    Array.from({ length: 999 }, (_, i) => -0.12 + 0.03 * Math.sin(i * i)),
    0.2281,
  ),
  table: {
    type: "table",
    title: "Codebooks",
    caption: "The words that have most of each signal, and least.",
    columns: ["signal", "most", "least", "kurtosis"],
    rows: [
      [17, "four, five, six", HOSTILE, 7.3125],
      [201, "king, queen, prince", "the, of, and", -12.4],
    ],
  },
};

/** Values of both signs, with more columns than fit a column of the page. */
export const WIDE_HEATMAP: Figure = {
  type: "heatmap",
  title: "What each position says, by layer",
  caption: "Difference of log-probabilities.",
  x: { label: "token" },
  y: { label: "layer" },
  value: { label: "difference", unit: "nats" },
  columns: Array.from({ length: 24 }, (_, i) => ["the", "king", "of", "France"][i % 4]),
  rows: Array.from({ length: 8 }, (_, i) => `blocks.${i}`),
  values: Array.from({ length: 8 }, (_, i) =>
    Array.from({ length: 24 }, (_, j) => 4 * Math.sin(0.4 * i) * Math.cos(0.37 * j) - 0.5),
  ),
};

const claim = (id: ClaimId, values: Partial<Claim>): Claim => ({
  id,
  kind: CLAIMS[id].kind,
  statement: CLAIMS[id].statement,
  effect: 0.2281,
  null: { name: "permuted categories", mean: -0.1184, sd: 0.0094, draws: 999 },
  p: 0.001,
  pHolm: 0.022,
  holds: true,
  ...values,
});

const CHECKPOINT = "61e836d1bef54dda1d86ebaadec055243a8da559d8e9ddab4f287ede81cef745";

const result = (id: ExperimentId, values: Partial<ExperimentResult>): ExperimentResult => ({
  id,
  question: `What of ${id}?`,
  checkpoint: CHECKPOINT,
  seed: 1,
  parameters: { draws: 999, analogies: "built-in" },
  claims: [],
  figures: [],
  notes: [],
  ...values,
});

const CLAIMS_MADE: Claim[] = [
  claim("sparsity.gini", {
    effect: 0.683,
    null: { name: "random rotations of the signals", mean: 0.608, sd: 0.014, draws: 999 },
    p: 1,
    pHolm: 1,
    holds: false,
  }),
  claim("galaxy.silhouette", { interval: [0.1875, 0.2673] }),
  claim("galaxy.plane", { effect: -0.1, p: 0.03, pHolm: 0.54, holds: false }),
  claim("algebra.embedding", {
    effect: 0.5,
    null: { name: "answers permuted within sections", mean: 0, sd: 0, draws: 999 },
  }),
  claim("certificate.seeds", {
    effect: 0.3125,
    null: { name: "rotations", mean: 0.3, sd: 0.01, draws: 999 },
  }),
];

export const RESULTS: Results = {
  model: {
    ...resolveConfig(PRESETS.nano),
    parameters: 7278080,
  },
  trained: { steps: 4300, tokens: 8806400 },
  beside: { twin: "a".repeat(64), seeds: ["b".repeat(64)] },
  text: { tokens: 76543 },
  results: [
    result("sparsity", {
      claims: [CLAIMS_MADE[0]],
      figures: [FIGURES.lines, FIGURES.histogram],
      notes: [HOSTILE],
    }),
    result("geometry", { inapplicable: "an unfactored model has no basis" }),
    result("galaxy", {
      claims: CLAIMS_MADE.slice(1, 3),
      figures: [FIGURES.scatter, FIGURES.bars, FIGURES.histogram],
    }),
    result("algebra", { claims: [CLAIMS_MADE[3]], figures: [FIGURES.table] }),
    result("crystallization", { figures: [FIGURES.heatmap, FIGURES.lines, WIDE_HEATMAP] }),
  ],
  certificate: {
    checkpoint: CHECKPOINT,
    seed: 1,
    quick: false,
    family: Object.keys(CLAIMS).length,
    claims: CLAIMS_MADE,
    notRun: ["typo.recovery", "layers.depth"],
    matching: {
      checkpoints: ["b".repeat(64)],
      parameters: { seeds: 1, signals: 256 },
      figures: [FIGURES.lines],
      notes: [],
    },
  },
};
