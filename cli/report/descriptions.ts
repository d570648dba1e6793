/** What a reader has to know of each experiment: how it is done, what chance means in it, and what the source reported. */
import type { ClaimKind } from "../../runtime/experiments/framework/claims.ts";
import type { ProbeId } from "../../runtime/experiments/framework/experiment.ts";

export const DESCRIPTIONS: Readonly<Record<ProbeId, { how: string; source?: string }>> = {
  atlas: {
    how:
      "A token's recipe says how much of each signal is in it; a signal's codebook is the words that have most of it, and least. " +
      "If recipes carry meaning, words that people call alike have recipes with large cosines, and a word's nearest are of its " +
      "own category. Chance: the same words in other pairs, among words about as frequent; categories permuted; signals rotated.",
    source: "cosines of .755 for three and four, .54 for king and queen, .53 for France and Germany",
  },
  sparsity: {
    how:
      "Sparse recipes would make single signals worth reading. But sparsity is a matter of coordinates: a random rotation of the " +
      "signals gives a model that computes exactly the same, with other recipes. What chance gives is how sparse those are.",
    source:
      "116.6 of 1024 signals active a token (11.38%; independent Gaussian entries give 11.05%), Gini .085",
  },
  geometry: {
    how:
      "The basis says in which direction of the residual stream each signal points. Its singular values tell how many directions " +
      "are in use. Chance: as many random directions, of the same lengths.",
  },
  galaxy: {
    how:
      "Words of ten categories, and how closely each stands to its own: the silhouette is 1 where every word stands with its own " +
      "category alone, and 0 in between. Chance: the same words with their categories permuted.",
    source: "a silhouette of .105",
  },
  algebra: {
    how:
      "“a is to b as c is to …”: the answer is the token nearest to b − a + c. That can come out right where c alone is enough, so " +
      "that chance is answers permuted among the questions of a section, and the third word alone is asked, too.",
    source: "3 of 3 analogies, of which the 95% lower bound is 29%",
  },
  typo: {
    how:
      "Words are misspelt, and the model reads on. What the typo costs is the rise in loss; the rank of the clean word, layer by " +
      "layer, shows where the model finds back. Chance: a random word of the same length and token count in its place.",
  },
  layers: {
    how:
      "The final readout is applied to the residual stream after each layer (the logit lens): how far is what it says from the final " +
      "answer, and how sure is it? Chance: the same layers in random order.",
  },
  flow: {
    how:
      "A logit is an exact sum over signals, and each signal's value a sum over what the embedding and every block write. The " +
      "ledger adds up to the logit. Chance: how much of it the strongest signals carry after a random rotation.",
  },
  ablation: {
    how:
      "One signal is taken away, in the readout, in the look-up of tokens, or in both, and the loss measured. Among hundreds of " +
      "signals some effect is the largest: chance is the largest of as many random directions.",
    source: "one signal takes a fact from 8.31% to 0.03%",
  },
  steer: {
    how:
      "Moving the residual stream along an expression such as great − terrible should turn the sentiment of what follows, at some " +
      "cost in loss. Chance: random directions of the same length.",
    source: "terrible becomes great when the first .38 of depth is steered",
  },
  inception: {
    how:
      "A concept's direction is added until the concept is the likeliest next token; α is the smallest push that does it, in units of " +
      "the residual's norm. Chance: the same for random directions.",
    source: "α of about 18.4",
  },
  genes: {
    how:
      "A gene patch edits rows of R, in both of their uses, and is undone to the last bit. A good one changes what is related, text " +
      "that speaks of the same in other words, and leaves the rest alone. Chance: patches of the same size to random tokens that are " +
      "about as frequent.",
    source: "the sentiment flips, the grammar holds",
  },
  crystallization: {
    how:
      "The same push at different depths: after which layer is it too late to change the answer? Pushes are scaled to the residual's " +
      "norm, since it grows with depth. Chance: the same layers in random order.",
    source: "a boundary at .38 to .56 of depth, later with long contexts",
  },
  hardtopk: {
    how:
      "Of each recipe only the k largest entries are kept. What is lost in loss, neighbours, analogies and clusters? Chance: the " +
      "same cut after a random rotation of the signals.",
    source:
      "from 1024 to 64 entries, cosines fall from .76 to .30, analogies from 3 of 3 to none, the silhouette from .11 to −.02",
  },
};

export const CONTROLS: Readonly<Record<ClaimKind, string>> = {
  free:
    "is said of E = R·B or of what the model computes. Its chance is named with the claim: permuted labels, random directions of the " +
    "same length, shuffled layers.",
  metric:
    "is said of cosines between recipes. A rotation of the signals leaves them, another A does not. Its chance is permuted words or " +
    "labels; beside it stand the same figure in the embedding and with recipes mixed at random.",
  bound:
    "is said of coordinates: single signals, their sparsity, their use. Its chance is the same model with its signals rotated at " +
    "random, R·Q and Qᵀ·B, which computes exactly what the model does. (A reflow-topk no rotation leaves alone: there it is the model at " +
    "initialisation.)",
};
