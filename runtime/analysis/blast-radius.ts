/** The side effects of a gene patch: on predictions, on neighbours and on analogies. */

import { yieldToEventLoop } from "../common/event-loop.ts";
import type { Matrix } from "../math/matrix.ts";
import {
  cosines,
  largest,
  type Multiplier,
  matrix,
  multiply,
  pick,
  rowOf,
  unitRows,
} from "../math/matrix.ts";
import { encodePatch, type GenePatch } from "../patches/patch.ts";
import type { LexiconModel } from "../signals/lexicon.ts";
import { type Analogy, readAnalogies } from "../text/word-sets.ts";
import { answer } from "./analogies.ts";

/** The part of a model that {@link blastRadius} uses; every `Model` has it. */
export interface PatchableModel extends LexiconModel {
  divergence(
    text: Int32Array | readonly number[],
    options: { patch: GenePatch; signal?: AbortSignal },
  ): Promise<Float64Array>;
}

export interface BlastRadiusOptions {
  /** Ids of a text on which predictions are compared. */
  text?: Int32Array | readonly number[];
  /** Analogies whose answers are compared. Default: built-in ones. */
  analogies?: readonly Analogy[];
  signal?: AbortSignal;
}

export interface TokenText {
  id: number;
  text: string;
}

/** Plain JSON. */
export interface BlastRadius {
  /** The size of the patch file in bytes. */
  bytes: number;
  edits: number;
  edited: {
    /** Tokens whose recipes changed. */
    count: number;
    /** The tokens that changed most, with their neighbours in recipe space before and after, nearest first. */
    most: (TokenText & Record<"before" | "after", (TokenText & { cosine: number })[]>)[];
  };
  neighbours: {
    /** The number of neighbours compared per token. */
    top: number;
    /** The number of unedited tokens, and of those whose neighbours changed. */
    of: number;
    moved: number;
    /** The tokens with the most changed neighbours. */
    most: (TokenText & { gained: TokenText[]; lost: TokenText[] })[];
  };
  /** KL divergence of the patched from the unpatched predictions, in nats per position; absent without a text. */
  divergence?: {
    positions: number;
    mean: number;
    /** Largest first. */
    worst: { position: number; kl: number }[];
  };
  /** By 3CosAdd over recipes; absent if no question consists of single tokens. */
  analogies?: {
    asked: number;
    /** The number of correct answers. */
    right: { before: number; after: number };
    /** Questions whose answer changed. */
    changed: { question: TokenText[]; before: TokenText; after: TokenText }[];
  };
}

/** The maximum length of the lists in a report. */
const LISTED = 20;
/** The number of nearest neighbours compared. */
const NEIGHBOURS = 10;

/**
 * Compares a model with and without a patch.
 *
 * @throws ReflowError `usage` for a patch that cannot be applied
 * @example
 * const { neighbours } = await blastRadius(model, patch, { text: model.tokenize(text) });
 */
export async function blastRadius(
  model: PatchableModel,
  patch: GenePatch,
  { text, analogies, signal }: BlastRadiusOptions = {},
): Promise<BlastRadius> {
  const rows = Math.min(model.tokenizer.vocabSize, model.config.vocab_size);
  const recipes = async (options?: { patch: GenePatch }): Promise<Matrix> => {
    const { shape, data } = (await model.tables(options)).recipe;
    return matrix(rows, shape[1], data.subarray(0, rows * shape[1]));
  };
  const token = (id: number): TokenText => ({ id, text: model.tokenizer.tokenText(id) });
  const [after, before] = [await recipes({ patch }), await recipes()];
  const changes = Float32Array.from({ length: rows }, (_, id) =>
    distance(rowOf(before, id), rowOf(after, id)),
  );
  const edited = Array.from(changes.keys()).filter((id) => changes[id] > 0);
  const tables = { before, after, edited, top: NEIGHBOURS, signal };
  const moved = await movedNeighbours(model, tables);
  const mostEdited = largest(changes, Math.min(LISTED, edited.length));
  const nearest = async (table: Matrix) => {
    const near = await cosines(model, pick(table, mostEdited), table);
    return mostEdited.map((id, i) => {
      const row = rowOf(near, i);
      row[id] = -Infinity;
      return largest(row, NEIGHBOURS).map((each) => ({ ...token(each), cosine: row[each] }));
    });
  };
  const [nearBefore, nearAfter] =
    edited.length > 0 ? [await nearest(before), await nearest(after)] : [[], []];
  const questions = analogies ?? readAnalogies(model.tokenizer, rows);
  const kl = text && (await model.divergence(text, { patch, signal }));
  return {
    bytes: new TextEncoder().encode(encodePatch(patch)).length,
    edits: patch.edits.length,
    edited: {
      count: edited.length,
      most: mostEdited.map((id, i) => ({ ...token(id), before: nearBefore[i], after: nearAfter[i] })),
    },
    neighbours: {
      top: NEIGHBOURS,
      of: rows - edited.length,
      moved: moved.length,
      most: moved
        .sort((a, b) => b.gained.length - a.gained.length || a.id - b.id)
        .slice(0, LISTED)
        .map(({ id, gained, lost }) => ({ ...token(id), gained: gained.map(token), lost: lost.map(token) })),
    },
    divergence: kl && {
      positions: kl.length,
      mean: kl.reduce((sum, each) => sum + each, 0) / kl.length,
      worst: largest(kl, LISTED).map((position) => ({ position, kl: kl[position] })),
    },
    analogies: questions.length > 0 ? await changedAnswers(model, tables, questions, token) : undefined,
  };
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let s = 0; s < a.length; s++) sum += (a[s] - b[s]) ** 2;
  return Math.sqrt(sum);
}

async function changedAnswers(
  device: Multiplier,
  { before, after }: Tables,
  analogies: readonly Analogy[],
  token: (id: number) => TokenText,
): Promise<BlastRadius["analogies"]> {
  const { "3CosAdd": first } = await answer(device, before, analogies, ["3CosAdd"]);
  const { "3CosAdd": second } = await answer(device, after, analogies, ["3CosAdd"]);
  const right = (answers: typeof first) => answers.filter(({ rank }) => rank === 1).length;
  return {
    asked: analogies.length,
    right: { before: right(first), after: right(second) },
    changed: analogies
      .map((question, i) => ({
        question: question.map(({ id }) => token(id)),
        before: token(first[i].best),
        after: token(second[i].best),
      }))
      .filter(({ before, after }) => before.id !== after.id),
  };
}

interface Tables {
  /** (V,S) */
  before: Matrix;
  after: Matrix;
  /** The rows that changed. */
  edited: readonly number[];
  top: number;
  signal?: AbortSignal;
}

/** An unedited token whose neighbours changed. */
interface Moved {
  id: number;
  gained: number[];
  lost: number[];
}

/** Rows compared at a time. */
const ROWS = 512;

/**
 * The unedited tokens whose nearest neighbours changed. Such a token has an edited token nearer than its last neighbour,
 * before or after the edit. A lower bound of that distance from a sample of tokens avoids most of the V² cosines.
 */
export async function movedNeighbours(
  device: Multiplier,
  { before, after, edited, top, signal }: Tables,
): Promise<Moved[]> {
  if (edited.length === 0) return [];
  const isEdited = new Set(edited);
  const others = Array.from({ length: before.rows }, (_, id) => id).filter((id) => !isEdited.has(id));
  const [table, changed] = [unitRows(before), unitRows(pick(after, edited))];
  const sample = others.filter((_, i) => i % Math.ceil(others.length / ROWS) === 0);
  const [sampled, was] = [pick(table, sample), pick(table, edited)];

  const moved: Moved[] = [];
  for (let from = 0; from < others.length; from += ROWS) {
    const ids = others.slice(from, from + ROWS);
    const some = pick(table, ids);
    const toSample = await multiply(device, some, sampled, { transB: true });
    const toOld = await multiply(device, some, was, { transB: true });
    const toNew = await multiply(device, some, changed, { transB: true });
    const near: number[] = [];
    for (const [i, id] of ids.entries()) {
      await yieldToEventLoop(signal);
      const row = rowOf(toSample, i);
      const own = sample.indexOf(id);
      if (own >= 0) row[own] = -Infinity;
      const nearest = largest(row, top);
      const least = nearest.length < top ? -Infinity : row[nearest[top - 1]];
      const reaches = (x: number) => x >= least;
      if (rowOf(toOld, i).some(reaches) || rowOf(toNew, i).some(reaches)) near.push(i);
    }
    if (near.length === 0) continue;
    const all = await multiply(device, pick(some, near), table, { transB: true });
    for (const [n, i] of near.entries()) {
      const row = rowOf(all, n);
      row[ids[i]] = -Infinity;
      const old = largest(row, top);
      for (const [e, id] of edited.entries()) row[id] = rowOf(toNew, i)[e];
      const now = largest(row, top);
      const gained = now.filter((id) => !old.includes(id));
      const lost = old.filter((id) => !now.includes(id));
      if (gained.length > 0) moved.push({ id: ids[i], gained, lost });
    }
  }
  return moved;
}
