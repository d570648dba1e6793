/** Vector arithmetic on words: a is to b as c is to d. */

import { yieldToEventLoop } from "../common/event-loop.ts";
import type { Matrix } from "../math/matrix.ts";
import { cosines, type Multiplier, pick, rowOf } from "../math/matrix.ts";
import { shuffle } from "../math/permutation.ts";
import type { Random } from "../math/random.ts";
import { mean } from "../math/statistics.ts";
import type { Analogy, AnalogySection } from "../text/word-sets.ts";

/** How a candidate x is scored by its cosines with a, b and c. */
export const METHODS = {
  /** cos(x,b) − cos(x,a) + cos(x,c) (Mikolov et al. 2013) */
  "3CosAdd": (a: number, b: number, c: number) => b - a + c,
  /** cos(x,b)·cos(x,c)/(cos(x,a) + ε), cosines moved to [0, 1] (Levy & Goldberg 2014) */
  "3CosMul": (a: number, b: number, c: number) => ((1 + b) * (1 + c)) / (1 + a + 2e-3),
  /** cos(x,c): the nearest token to the third word, ignoring the first two (Linzen 2016, "only-b") */
  "third word alone": (_a: number, _b: number, c: number) => c,
} as const;
export type Method = keyof typeof METHODS;

/** The result of one question. */
export interface Answer {
  /** The best token, excluding the three given words. */
  readonly best: number;
  /** The rank of the right answer, from 1, among all tokens except the three given words. */
  readonly rank: number;
  /** The rank of the right answer among all tokens. */
  readonly rankOfAll: number;
}

/**
 * Answers questions among all tokens of a table (V,C).
 *
 * @returns each method's answers, in the questions' order
 */
export async function answer<M extends Method>(
  device: Multiplier,
  table: Matrix,
  questions: readonly Analogy[],
  methods: readonly M[],
): Promise<Record<M, Answer[]>> {
  const ids = [...new Set(questions.flatMap(([a, b, c]) => [a.id, b.id, c.id]))];
  const place = new Map(ids.map((id, i) => [id, i]));
  const near = await cosines(device, pick(table, ids), table); // (queries,V)
  const row = (id: number) => rowOf(near, place.get(id)!);
  const answers = Object.fromEntries(methods.map((method) => [method, [] as Answer[]])) as Record<
    M,
    Answer[]
  >;
  const scores = new Float64Array(table.rows);
  for (const [a, b, c, d] of questions) {
    await yieldToEventLoop();
    for (const method of methods) {
      const [toA, toB, toC] = [row(a.id), row(b.id), row(c.id)];
      const score = METHODS[method];
      for (let x = 0; x < scores.length; x++) scores[x] = score(toA[x], toB[x], toC[x]);
      answers[method].push(rank(scores, d.id, [a.id, b.id, c.id]));
    }
  }
  return answers;
}

/** Ranks by score; tokens that tie with the right answer rank after it. */
export function rank(scores: Float64Array, right: number, own: readonly number[]): Answer {
  const score = scores[right];
  let before = 0;
  for (let x = 0; x < scores.length; x++) if (scores[x] > score) before++;
  const ownBefore = new Set(own.filter((x) => scores[x] > score)).size;
  let best = -1;
  for (let x = 0; x < scores.length; x++) {
    if ((best < 0 || scores[x] > scores[best]) && !own.includes(x)) best = x;
  }
  return { best, rank: 1 + before - ownBefore, rankOfAll: 1 + before };
}

/** Fractions of questions, and the mean reciprocal rank. */
export interface Accuracy {
  readonly top1: number;
  readonly top5: number;
  /** Mean reciprocal rank. */
  readonly mrr: number;
}

export function accuracy(answers: readonly Answer[], { ofAll = false } = {}): Accuracy {
  const ranks = answers.map(({ rank, rankOfAll }) => (ofAll ? rankOfAll : rank));
  return {
    top1: mean(ranks.map((rank) => (rank === 1 ? 1 : 0))),
    top5: mean(ranks.map((rank) => (rank <= 5 ? 1 : 0))),
    mrr: mean(ranks.map((rank) => 1 / rank)),
  };
}

/**
 * The null distribution of accuracy: right answers are permuted within each section, as if the pairs of a relation had nothing
 * to do with each other. All questions with the same right answer get the same replacement; if that is one of the
 * question's own words, which are excluded as answers, the next one in the permutation is used.
 *
 * @param answers answers to the questions of all sections, in order
 */
export function permutedAnswers(
  sections: readonly AnalogySection[],
  answers: readonly Answer[],
  draws: number,
  random: Random,
): Float64Array {
  const rights = sections.map(({ questions }) => [...new Set(questions.map(([, , , d]) => d.id))]);
  return Float64Array.from({ length: draws }, () => {
    let [at, hits] = [0, 0];
    for (const [s, { questions }] of sections.entries()) {
      const shuffled = shuffle([...rights[s]], random);
      const next = new Map(rights[s].map((id, i) => [id, shuffled[i]]));
      for (const [a, b, c, d] of questions) {
        let other = next.get(d.id)!;
        // The cycle returns to d itself at the latest.
        while (other === a.id || other === b.id || other === c.id) other = next.get(other)!;
        if (answers[at++].best === other) hits++;
      }
    }
    return hits / at;
  });
}
