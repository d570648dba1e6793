/** Measures the sentiment of predictions, and how treatments of the model change it. */
import { mean } from "../../math/statistics.ts";
import type { Word, Words } from "../../text/word-sets.ts";
import type { ExperimentContext } from "../framework/experiment.ts";
import { forwardPasses, type Push, pushHooks, type Sequence, textWindows } from "./forward-passes.ts";
import { crossEntropy } from "./predictions.ts";
import { openings } from "./prompts.ts";

export type SentimentPair = Words["sentiment"][number];

/** A treatment of the model: a push, a prompt prefix, or nothing. */
export interface Treatment {
  method: string;
  range?: readonly [number, number];
  strength?: number;
  push?: Push;
  /** Token ids inserted before a text. */
  prefix?: readonly number[];
}

/** The measured effect of a treatment. */
export interface Outcome {
  treatment: Treatment;
  /** Sentiment per prompt: see {@link sentimentOf}. */
  scores: number[];
  /** Loss on unrelated text in nats per token; 0 if there was none. */
  loss: number;
}

/** The material on which treatments are measured. */
export interface SentimentTask {
  prompts: readonly number[][];
  texts: readonly Int32Array[];
  measured: readonly SentimentPair[];
}

/**
 * Prompts with a negative word, "The food was terrible and", and their twins with a positive word. They begin with built-in
 * openings, supplemented by held-out windows if the tokenizer supports too few openings.
 *
 * @param most maximum number of tokens before the word
 */
export function promptsOf(
  context: ExperimentContext,
  { negative, positive }: SentimentPair,
  { count, most }: { count: number; most: number },
): { prompts: number[][]; twins: number[][]; notes: string[] } {
  const { kept, leftOut } = openings(context, most);
  const own = kept.slice(0, count);
  const read = textWindows(
    context,
    { count: count - own.length, length: Math.min(8, most) },
    context.random("prompts"),
  );
  const and = context.words.find("and");
  const say = ({ id }: Word) => [...own, ...read].map((ids) => [...ids, id, ...(and ? [and.id] : [])]);
  const notes =
    leftOut > 0
      ? [`${leftOut} of the built-in openings contain words of several tokens and are left out.`]
      : [];
  return { prompts: say(negative), twins: say(positive), notes };
}

interface SentimentItem extends Sequence {
  outcome: Outcome;
  push?: Push;
  /** Number of positions before the text itself. */
  skip: number;
  isPrompt: boolean;
}

/** Runs prompts and texts under each treatment. The first treatment should be the untreated model, as the baseline. */
export async function outcomesOf(
  context: ExperimentContext,
  { prompts, texts, measured }: SentimentTask,
  treatments: readonly Treatment[],
  [from, to]: readonly [number, number],
): Promise<Outcome[]> {
  const outcomes = treatments.map((treatment): Outcome => ({ treatment, scores: [], loss: 0 }));
  const items = outcomes.flatMap((outcome): SentimentItem[] => {
    const { prefix = [], push } = outcome.treatment;
    const item = (ids: ArrayLike<number>, isPrompt: boolean): SentimentItem => {
      return { outcome, push, ids: [...prefix, ...Array.from(ids)], skip: prefix.length, isPrompt };
    };
    return [...prompts.map((ids) => item(ids, true)), ...texts.map((ids) => item(ids, false))];
  });
  // Prompts and texts run separately: a pass is as long as its longest sequence.
  const sorted = [...items.filter(({ isPrompt }) => isPrompt), ...items.filter(({ isPrompt }) => !isPrompt)];
  let done = 0;
  for (const some of [
    sorted.slice(0, treatments.length * prompts.length),
    sorted.slice(treatments.length * prompts.length),
  ]) {
    if (some.length === 0) continue;
    for await (const { item, logits } of forwardPasses(context, some, { hooks: pushHooks })) {
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

/** Log-odds of the positive against the negative words, mean over pairs, in nats. */
export const sentimentOf = (logits: Float32Array, pairs: readonly SentimentPair[]): number =>
  mean(pairs.map(({ positive, negative }) => logits[positive.id] - logits[negative.id]));
