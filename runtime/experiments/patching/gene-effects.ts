/** Effects of gene patches on texts: by forward passes, or by a formula if no text contains an edited word. */

import { lengthOf } from "../../math/direction.ts";
import { klDivergence, logSum } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, rowOf } from "../../math/matrix.ts";
import { randomDirection } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import { type Edit, type GenePatch, netEdits } from "../../patches/patch.ts";
import type { ExperimentContext, ExperimentModel } from "../framework/experiment.ts";
import { forwardPasses, type Sequence } from "../passes/forward-passes.ts";
import { type SentimentPair, sentimentOf } from "../passes/sentiment.ts";

// ---- edits ------------------------------------------------------------------------------------------------

/** token += strength · (towards − token), in its recipe and therefore in its embedding. */
export interface RecipeEdit {
  readonly token: number;
  readonly towards: number;
  readonly strength: number;
}

/** ‖E[towards] − E[token]‖ */
export function embeddingDistance(
  { embedding }: ExperimentModel,
  { token, towards }: Omit<RecipeEdit, "strength">,
): number {
  const from = rowOf(embedding, token);
  return lengthOf(rowOf(embedding, towards).map((x, i) => x - from[i]));
}

/** An edit of other tokens with the same size in the embedding; of strength 0 if these tokens coincide. */
export function sizeMatched(
  model: ExperimentModel,
  edit: RecipeEdit,
  other: Omit<RecipeEdit, "strength">,
): RecipeEdit {
  const distance = embeddingDistance(model, other);
  return {
    ...other,
    strength: distance === 0 ? 0 : (edit.strength * embeddingDistance(model, edit)) / distance,
  };
}

/** Edits as a patch. */
export function patchOf({ model, recipe }: ExperimentModel, recipeEdits: readonly RecipeEdit[]): GenePatch {
  return editing(
    model.checkpoint!,
    recipeEdits.map(({ token, towards, strength }) => {
      const [from, to] = [rowOf(recipe, token), rowOf(recipe, towards)];
      return { token, delta: Float64Array.from(to, (x, s) => strength * (x - from[s])) };
    }),
  );
}

/** Edits of the same tokens along random signals, with the same sizes in the embedding. */
export async function randomSignalPatch(
  model: ExperimentModel,
  recipeEdits: readonly RecipeEdit[],
  random: Random,
): Promise<GenePatch> {
  const recipes = matrix(recipeEdits.length, model.recipe.columns);
  for (let i = 0; i < recipeEdits.length; i++)
    rowOf(recipes, i).set(randomDirection(recipes.columns, random));
  const embedded = await multiply(model.model, recipes, model.basis!);
  return editing(
    model.model.checkpoint!,
    recipeEdits.map((edit, i) => {
      const size = (Math.abs(edit.strength) * embeddingDistance(model, edit)) / lengthOf(rowOf(embedded, i));
      return { token: edit.token, delta: Float64Array.from(rowOf(recipes, i), (x) => size * x) };
    }),
  );
}

function editing(checkpoint: string, rows: readonly { token: number; delta: Float64Array }[]): GenePatch {
  const edits = rows.flatMap(({ token, delta }) =>
    Array.from(delta, (delta, signal): Edit => ({ token, signal, delta })),
  );
  return { model: checkpoint, edits: netEdits(edits) };
}

// ---- by a formula -----------------------------------------------------------------------------------------

/**
 * KL(p ‖ q) in nats of a prediction whose context contains no edited token. The patch then changes only the logits of the
 * edited tokens, each of which becomes (1 − strength)·logit[token] + strength·logit[towards]. With their probabilities p_t and
 * changes Δ_t, q_t = p_t·exp(Δ_t)/Z, so that KL = log Z − Σ p_t·Δ_t with Z = 1 + Σ p_t·(exp(Δ_t) − 1).
 *
 * @param logprobs log p of the recorded tokens, (tokens)
 * @param column index of a token among the recorded tokens
 */
export function editKl(
  logprobs: Float32Array,
  recipeEdits: readonly RecipeEdit[],
  column: ReadonlyMap<number, number>,
): number {
  let [grown, shifted] = [0, 0];
  for (const { token, towards, strength } of recipeEdits) {
    const own = logprobs[column.get(token)!];
    const change = strength * (logprobs[column.get(towards)!] - own);
    const probability = Math.exp(own);
    grown += probability * Math.expm1(change);
    shifted += probability * change;
  }
  return Math.max(0, Math.log1p(grown) - shifted);
}

/** log p of some tokens, (positions,tokens), after the last id of each text, or after every id if `everywhere`. */
export async function logprobsOf(
  context: ExperimentContext,
  texts: readonly ArrayLike<number>[],
  tokens: readonly number[],
  { everywhere }: { everywhere: boolean },
): Promise<Matrix> {
  const rows: Float32Array[] = [];
  const items = texts.map((ids): Sequence => ({ ids }));
  for await (const { item, logits } of forwardPasses(context, items)) {
    const last = item.ids.length - 1;
    for (let t = everywhere ? 0 : last; t <= last; t++) {
      const row = logits(t);
      const normalizer = logSum(row);
      rows.push(Float32Array.from(tokens, (id) => row[id] - normalizer));
    }
  }
  const out = matrix(rows.length, tokens.length);
  for (const [i, row] of rows.entries()) rowOf(out, i).set(row);
  return out;
}

// ---- by passes --------------------------------------------------------------------------------------------

/** Texts on which a patch is measured. */
export interface PatchTask {
  /** Prompts that contain an edited word; their next-token predictions are measured. */
  readonly paraphrases: readonly Paraphrase[];
  /** Texts without edited words, measured at every position. */
  readonly unrelated: readonly Int32Array[];
  /** Pairs that measure sentiment: none of them is edited. */
  readonly measured: readonly SentimentPair[];
}

export interface Paraphrase extends Sequence {
  /** Index of the pair that it contains. */
  readonly pair: number;
  /** The same text with the positive word instead of the negative one. */
  readonly twin: readonly number[];
}

/** The effect of a patch: means over paraphrases, and over the positions of unrelated text. */
export interface Effect {
  /** Shift of the measured positive words against the negative ones, nats. */
  shift: number;
  /** Fraction of paraphrases whose sentiment is now nearer to that of their positive twin than to its former value. */
  flipped: number;
  /** KL on paraphrases and on unrelated text, nats. */
  paraphrases: number;
  unrelated: number;
}

interface Before {
  logits: Float32Array[];
  scores: number[];
  goals: number[];
}

/** Runs a task through the unpatched model. @returns a function that measures a patch, on the paraphrases of one pair or of all */
export async function patchEvaluator(
  context: ExperimentContext,
  { paraphrases, unrelated, measured }: PatchTask,
): Promise<(patch: GenePatch, pair?: number) => Promise<Effect>> {
  const texts = unrelated.map((ids): Sequence => ({ ids }));
  const before: Before = { logits: [], scores: [], goals: [] };
  for await (const { item, logits } of forwardPasses(context, paraphrases)) {
    const row = logits(item.ids.length - 1);
    before.logits.push(row.slice());
    before.scores.push(sentimentOf(row, measured));
  }
  for await (const { item, logits } of forwardPasses(
    context,
    paraphrases.map(({ twin }): Sequence => ({ ids: twin })),
  )) {
    before.goals.push(sentimentOf(logits(item.ids.length - 1), measured));
  }
  const unpatched: Float32Array[] = [];
  for await (const { item, logits } of forwardPasses(context, texts)) {
    for (let t = 0; t < item.ids.length; t++) unpatched.push(logits(t).slice());
  }

  return async (patch, pair) => {
    const chosen = paraphrases.flatMap((each, i) => (pair === undefined || each.pair === pair ? [i] : []));
    const [shifts, flips, related, others]: number[][] = [[], [], [], []];
    let at = 0;
    for await (const { item, logits } of forwardPasses(
      context,
      chosen.map((i) => paraphrases[i]),
      { patch },
    )) {
      const row = logits(item.ids.length - 1);
      const i = chosen[at++];
      const score = sentimentOf(row, measured);
      shifts.push(score - before.scores[i]);
      flips.push(isNearer(score, before.scores[i], before.goals[i]) ? 1 : 0);
      related.push(klDivergence(before.logits[i], row));
    }
    let position = 0;
    for await (const { item, logits } of forwardPasses(context, texts, { patch })) {
      for (let t = 0; t < item.ids.length; t++) others.push(klDivergence(unpatched[position++], logits(t)));
    }
    return {
      shift: mean(shifts),
      flipped: mean(flips),
      paraphrases: mean(related),
      unrelated: mean(others),
    };
  };
}

/** Whether a score is nearer to `to` than to `from`; never if both are equal. */
export const isNearer = (score: number, from: number, to: number): boolean =>
  Math.abs(score - to) < Math.abs(score - from);
