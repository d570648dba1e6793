/** Figures of the gene-patch experiment, and the results that they show. */
import { groupBy } from "../../common/compatibility.ts";
import { mean } from "../../math/statistics.ts";
import { encodePatch, type GenePatch } from "../../patches/patch.ts";
import type { Figure } from "../framework/figure.ts";
import type { SentimentPair } from "../passes/sentiment.ts";
import type { Effect } from "./gene-effects.ts";

/** negative += STRENGTH · (positive − negative) */
export const STRENGTH = 0.6;

/** A patch to evaluate. */
export interface PatchTrial {
  name: string;
  strength: number;
  patch: GenePatch;
}

/** The measured effect of a trial. */
export type Outcome = Omit<PatchTrial, "patch"> & Effect;

/** The patch of one pair, and its effect. */
export interface PairPatch {
  pair: SentimentPair;
  patch: GenePatch;
  effect: Effect;
  /** Share of the change on related text, and its null mean. */
  local: number;
  nullShare: number;
  undone: boolean;
}

export const nameOf = ({ negative, positive }: SentimentPair): string =>
  `${negative.text} → ${positive.text}`;

export function frontier(outcomes: readonly Outcome[]): Figure {
  return {
    type: "scatter",
    title: "Intended change and side effects",
    caption:
      "All edits together, by strength. Vertical: shift towards positive words, measured with pairs that are not edited, after " +
      "paraphrases that contain an edited word. Horizontal: change of predictions on unrelated text. Nulls: random words instead " +
      "of the positive ones, and random signals.",
    x: { label: "KL on unrelated text", unit: "nats" },
    y: { label: "shift of sentiment", unit: "nats" },
    points: outcomes.map(({ name, strength, shift, unrelated }) => ({
      x: unrelated,
      y: shift,
      group: name,
      ...((name === "patch" || name === "opposite sign") && { label: String(strength) }),
    })),
  };
}

export function byStrength(outcomes: readonly Outcome[]): Figure {
  const patches = outcomes.filter(({ name }) => name === "patch");
  const x = patches.map(({ strength }) => strength);
  return {
    type: "lines",
    title: "Change of predictions by strength",
    caption:
      "KL from the predictions of the unpatched model to those of the patched one: after paraphrases that contain an edited word, and in text without one.",
    x: { label: "strength" },
    y: { label: "KL", unit: "nats", log: true },
    series: [
      { name: "paraphrases", x, y: patches.map(({ paraphrases }) => paraphrases) },
      { name: "unrelated text", x, y: patches.map(({ unrelated }) => unrelated) },
    ],
  };
}

export function localShares(singles: readonly PairPatch[]): Figure {
  return {
    type: "bars",
    title: "Share of the change on related text",
    caption:
      "For the patch of each pair: share of the change (KL of predictions) that falls on related text; neither kind of text contains an " +
      "edited word. Marked: patches of the same size to random tokens. It is .5 if both kinds of text change equally.",
    y: { label: "share on related text" },
    bars: singles.map(({ pair, local, nullShare }) => ({
      name: nameOf(pair),
      value: local,
      null: nullShare,
    })),
  };
}

export function singlesTable(singles: readonly PairPatch[]): Figure {
  return {
    type: "table",
    title: "Patches of one word",
    caption: `With strength ${STRENGTH}. Paraphrases contain the edited word; unrelated text does not. A paraphrase is flipped if the preference for positive words covers more than half of the distance to that after the positive word itself.`,
    columns: [
      "patch",
      "bytes",
      "edits",
      "KL, paraphrases",
      "KL, unrelated",
      "shift (nats)",
      "flipped",
      "undone bit for bit",
    ],
    rows: singles.map(({ pair, patch, effect, undone }) => [
      nameOf(pair),
      new TextEncoder().encode(encodePatch(patch)).length,
      patch.edits.length,
      effect.paraphrases,
      effect.unrelated,
      effect.shift,
      effect.flipped,
      undone ? "yes" : "no",
    ]),
  };
}

export function outcomesTable(outcomes: readonly Outcome[]): Figure {
  const groups = groupBy(outcomes, ({ name, strength }) => `${name} ${strength}`);
  return {
    type: "table",
    title: "All edits together",
    caption:
      "Random words replace the positive ones; random signals have the same size. Both are means over draws.",
    columns: ["edit", "strength", "KL, paraphrases", "KL, unrelated", "shift (nats)", "flipped", "draws"],
    rows: [...groups.values()].map((some) => {
      const over = (figure: keyof Effect) => mean(some.map((each) => each[figure]));
      const [{ name, strength }] = some;
      const draws = name.startsWith("random") ? some.length : "";
      return [name, strength, over("paraphrases"), over("unrelated"), over("shift"), over("flipped"), draws];
    }),
  };
}
