/** What models make of good and bad, and of what is done to them. */

import { mean } from "../../math/statistics.ts";
import type { Word, Words } from "../../text/word-sets.ts";
import type { ProbeContext } from "../framework/experiment.ts";
import { forwards, type Push, pushes, type Sequence, windows } from "./forward-passes.ts";
import { crossEntropy } from "./predictions.ts";
import { openings } from "./prompts.ts";

export type Pair = Words["sentiment"][number];

/** Something that is done to a model. */
export interface Arm {
  method: string;
  range?: readonly [number, number];
  strength?: number;
  push?: Push;
  /** What is put before a text. */
  prefix?: readonly number[];
}

/** What came of it. */
export interface Outcome {
  arm: Arm;
  /** By prompt: see {@link sentimentOf}. */
  scores: number[];
  /** Of unrelated text, nats a token; 0 where none was read. */
  loss: number;
}

/** What each is tried on. */
export interface Task {
  prompts: readonly number[][];
  texts: readonly Int32Array[];
  measured: readonly Pair[];
}

/**
 * Our own openings, and held-out windows where the tokenizer has too few of them, that say something bad: "The food was terrible
 * and". Their twins say something good.
 *
 * @param most tokens of a prompt before it says so
 */
export function promptsOf(
  context: ProbeContext,
  { negative, positive }: Pair,
  { count, most }: { count: number; most: number },
): { prompts: number[][]; twins: number[][]; notes: string[] } {
  const { kept, leftOut } = openings(context, most);
  const own = kept.slice(0, count);
  const read = windows(
    context,
    { count: count - own.length, length: Math.min(8, most) },
    context.random("prompts"),
  );
  const and = context.words.find("and");
  const say = ({ id }: Word) => [...own, ...read].map((ids) => [...ids, id, ...(and ? [and.id] : [])]);
  const notes =
    leftOut > 0 ? [`${leftOut} of our openings have words of several tokens and are left out.`] : [];
  return { prompts: say(negative), twins: say(positive), notes };
}

interface Item extends Sequence {
  outcome: Outcome;
  push?: Push;
  /** Positions before what is read. */
  skip: number;
  isPrompt: boolean;
}

/** Runs prompts and texts with each of some things done to the model. The first should be nothing, to be compared with. */
export async function outcomesOf(
  context: ProbeContext,
  { prompts, texts, measured }: Task,
  arms: readonly Arm[],
  [from, to]: readonly [number, number],
): Promise<Outcome[]> {
  const outcomes = arms.map((arm): Outcome => ({ arm, scores: [], loss: 0 }));
  const items = outcomes.flatMap((outcome): Item[] => {
    const { prefix = [], push } = outcome.arm;
    const item = (ids: ArrayLike<number>, isPrompt: boolean): Item => {
      return { outcome, push, ids: [...prefix, ...Array.from(ids)], skip: prefix.length, isPrompt };
    };
    return [...prompts.map((ids) => item(ids, true)), ...texts.map((ids) => item(ids, false))];
  });
  // Long and short ones apart: a pass is as long as its longest.
  const sorted = [...items.filter(({ isPrompt }) => isPrompt), ...items.filter(({ isPrompt }) => !isPrompt)];
  let done = 0;
  for (const some of [
    sorted.slice(0, arms.length * prompts.length),
    sorted.slice(arms.length * prompts.length),
  ]) {
    if (some.length === 0) continue;
    for await (const { item, logits } of forwards(context, some, { hooks: pushes })) {
      const { outcome, ids, skip, isPrompt } = item;
      if (isPrompt) {
        outcome.scores.push(sentimentOf(logits(ids.length - 1), measured));
      } else {
        const positions = Array.from({ length: ids.length - skip - 1 }, (_, i) => skip + i);
        outcome.loss += mean(positions.map((t) => crossEntropy(logits(t), ids[t + 1]))) / texts.length;
      }
      done++;
      await context.progress(from + ((to - from) * done) / items.length);
    }
  }
  return outcomes;
}

/** How much likelier the good words of pairs are than the bad ones, mean over pairs, nats. */
export const sentimentOf = (logits: Float32Array, pairs: readonly Pair[]): number =>
  mean(pairs.map(({ positive, negative }) => logits[positive.id] - logits[negative.id]));
