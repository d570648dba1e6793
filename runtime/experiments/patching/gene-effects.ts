/** What gene patches do to texts: by passes through the patched model, and, where no text has the edited words, by a formula. */

import { lengthOf } from "../../math/direction.ts";
import { klDivergence, logSum } from "../../math/logits.ts";
import type { Matrix } from "../../math/matrix.ts";
import { matrix, multiply, rowOf } from "../../math/matrix.ts";
import { randomDirection } from "../../math/permutation.ts";
import type { Random } from "../../math/random.ts";
import { mean } from "../../math/statistics.ts";
import { type Edit, type GenePatch, netEdits } from "../../patches/patch.ts";
import type { ProbeContext, ProbedModel } from "../framework/experiment.ts";
import { forwards, type Sequence } from "../passes/forward-passes.ts";
import { type Pair, sentimentOf } from "../passes/sentiment.ts";

// ---- edits ------------------------------------------------------------------------------------------------

/** token += by · (towards − token): of its recipe, and so of its embedding. */
export interface Move {
  readonly token: number;
  readonly towards: number;
  readonly by: number;
}

/** ‖E[towards] − E[token]‖ */
export function apart({ embedding }: ProbedModel, { token, towards }: Omit<Move, "by">): number {
  const from = rowOf(embedding, token);
  return lengthOf(rowOf(embedding, towards).map((x, i) => x - from[i]));
}

/** The same size of edit, in the embedding, of another token, towards another. Nothing where these two are one. */
export function matched(model: ProbedModel, move: Move, other: Omit<Move, "by">): Move {
  const distance = apart(model, other);
  return { ...other, by: distance === 0 ? 0 : (move.by * apart(model, move)) / distance };
}

/** Moves as a patch. */
export function patchOf({ model, recipe }: ProbedModel, moves: readonly Move[]): GenePatch {
  return editing(
    model.checkpoint!,
    moves.map(({ token, towards, by }) => {
      const [from, to] = [rowOf(recipe, token), rowOf(recipe, towards)];
      return { token, delta: Float64Array.from(to, (x, s) => by * (x - from[s])) };
    }),
  );
}

/** The same tokens edited along random signals, by as much in the embedding. */
export async function randomSignals(
  model: ProbedModel,
  moves: readonly Move[],
  random: Random,
): Promise<GenePatch> {
  const recipes = matrix(moves.length, model.recipe.columns);
  for (let i = 0; i < moves.length; i++) rowOf(recipes, i).set(randomDirection(recipes.columns, random));
  const embedded = await multiply(model.model, recipes, model.basis!);
  return editing(
    model.model.checkpoint!,
    moves.map((move, i) => {
      const size = (Math.abs(move.by) * apart(model, move)) / lengthOf(rowOf(embedded, i));
      return { token: move.token, delta: Float64Array.from(rowOf(recipes, i), (x) => size * x) };
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
 * KL(p ‖ q) in nats of predictions before which no edited token stands: the patch then changes the edited tokens' logits alone,
 * each of which becomes (1 − by)·logit[token] + by·logit[towards]. With p_t of the edited tokens and Δ_t of their logits q is
 * p_t·exp(Δ_t)/Z, so that KL = log Z − Σ p_t·Δ_t with Z = 1 + Σ p_t·(exp(Δ_t) − 1).
 *
 * @param logprobs log p (places) of the tokens that are looked at
 * @param place a token's place among these
 */
export function movedKl(
  logprobs: Float32Array,
  moves: readonly Move[],
  place: ReadonlyMap<number, number>,
): number {
  let [grown, shifted] = [0, 0];
  for (const { token, towards, by } of moves) {
    const own = logprobs[place.get(token)!];
    const change = by * (logprobs[place.get(towards)!] - own);
    const share = Math.exp(own);
    grown += share * Math.expm1(change);
    shifted += share * change;
  }
  return Math.max(0, Math.log1p(grown) - shifted);
}

/** log p of some tokens (positions, tokens), after the last id of texts, or after each id. */
export async function logprobsOf(
  context: ProbeContext,
  texts: readonly ArrayLike<number>[],
  tokens: readonly number[],
  { everywhere }: { everywhere: boolean },
): Promise<Matrix> {
  const rows: Float32Array[] = [];
  const items = texts.map((ids): Sequence => ({ ids }));
  for await (const { item, logits } of forwards(context, items)) {
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

/** Texts that a patch is tried on. */
export interface Task {
  /** Ways to say something with an edited word in it: what comes next is looked at. */
  readonly paraphrases: readonly Paraphrase[];
  /** With none of them: looked at everywhere. */
  readonly unrelated: readonly Int32Array[];
  /** By which sentiment is measured: none of them is edited. */
  readonly measured: readonly Pair[];
}

export interface Paraphrase extends Sequence {
  /** Which of the pairs is in it. */
  readonly pair: number;
  /** The same with its good word in the place of the bad one. */
  readonly twin: readonly number[];
}

/** What a patch does: means over some paraphrases, and over the positions of unrelated text. */
export interface Effect {
  /** Of the good words against the bad ones that are measured, nats. */
  shift: number;
  /** The share of paraphrases that now are nearer to what they were with the good word than to what they were. */
  flipped: number;
  /** KL, nats. */
  paraphrases: number;
  unrelated: number;
}

interface Before {
  logits: Float32Array[];
  scores: number[];
  goals: number[];
}

/** Reads a task as the model does. @returns what tells what a patch does, to the paraphrases of one pair or of all */
export async function patchReader(
  context: ProbeContext,
  { paraphrases, unrelated, measured }: Task,
): Promise<(patch: GenePatch, pair?: number) => Promise<Effect>> {
  const texts = unrelated.map((ids): Sequence => ({ ids }));
  const before: Before = { logits: [], scores: [], goals: [] };
  for await (const { item, logits } of forwards(context, paraphrases)) {
    const row = logits(item.ids.length - 1);
    before.logits.push(row.slice());
    before.scores.push(sentimentOf(row, measured));
  }
  for await (const { item, logits } of forwards(
    context,
    paraphrases.map(({ twin }): Sequence => ({ ids: twin })),
  )) {
    before.goals.push(sentimentOf(logits(item.ids.length - 1), measured));
  }
  const plain: Float32Array[] = [];
  for await (const { item, logits } of forwards(context, texts)) {
    for (let t = 0; t < item.ids.length; t++) plain.push(logits(t).slice());
  }

  return async (patch, pair) => {
    const places = paraphrases.flatMap((each, i) => (pair === undefined || each.pair === pair ? [i] : []));
    const [shifts, flips, related, others]: number[][] = [[], [], [], []];
    let at = 0;
    for await (const { item, logits } of forwards(
      context,
      places.map((i) => paraphrases[i]),
      { patch },
    )) {
      const row = logits(item.ids.length - 1);
      const i = places[at++];
      const score = sentimentOf(row, measured);
      shifts.push(score - before.scores[i]);
      flips.push(isNearer(score, before.scores[i], before.goals[i]) ? 1 : 0);
      related.push(klDivergence(before.logits[i], row));
    }
    let position = 0;
    for await (const { item, logits } of forwards(context, texts, { patch })) {
      for (let t = 0; t < item.ids.length; t++) others.push(klDivergence(plain[position++], logits(t)));
    }
    return {
      shift: mean(shifts),
      flipped: mean(flips),
      paraphrases: mean(related),
      unrelated: mean(others),
    };
  };
}

/** Whether a score has come more than half of the way; never where there is no way. */
export const isNearer = (score: number, from: number, to: number): boolean =>
  Math.abs(score - to) < Math.abs(score - from);
