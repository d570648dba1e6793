/** Built-in prompts. They were written before any model was examined, with words that small vocabularies contain. */
import type { ExperimentContext } from "../framework/experiment.ts";

/** Sentence openings that can continue positively or negatively. */
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

/** A sentence examined token by token. */
export const SENTENCE =
  "The king and the queen of England went to the house of the old man, and they said that he was";

/** Token ids of the openings whose words are single tokens, at most `most` tokens long; and the number of openings left out. */
export function openings(
  { model: { model } }: ExperimentContext,
  most: number,
): { kept: Int32Array[]; leftOut: number } {
  const kept = OPENINGS.flatMap((text) => {
    const ids = model.tokenize(text);
    return ids.length === text.split(" ").length && ids.length <= most ? [ids] : [];
  });
  return { kept, leftOut: OPENINGS.length - kept.length };
}
