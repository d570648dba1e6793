/** Sentences of our own that probes begin with: written before any model was looked at, of words that small vocabularies have. */
import type { ProbeContext } from "../framework/experiment.ts";

/** What may go on well or badly. */
const OPENINGS = [
  "The food was",
  "I think that the book was",
  "The people said that it was",
  "My brother told me that the house was",
  "In the end the story was",
  "We all thought that the day was",
  "She said that the music was",
  "The work of the young man was",
  "He wrote that the city was",
  "It was a very",
  "The last part of the play was",
  "His first letter to her was",
  "I have always found him to be",
  "The water in the river was",
  "They say that the old king is",
  "Of all these things this one is",
];

/** Looked at token by token. */
export const SENTENCE =
  "The king and the queen of England went to the house of the old man, and they said that he was";

/** The ids of those openings whose words are single tokens, of no more than `most`; and how many were left out. */
export function openings(
  { model: { model } }: ProbeContext,
  most: number,
): { kept: Int32Array[]; leftOut: number } {
  const kept = OPENINGS.flatMap((text) => {
    const ids = model.tokenize(text);
    return ids.length === text.split(" ").length && ids.length <= most ? [ids] : [];
  });
  return { kept, leftOut: OPENINGS.length - kept.length };
}
