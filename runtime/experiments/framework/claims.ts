/**
 * What the suite may find. The list is fixed, ids, sides and all: it is the family that p-values are corrected for, also
 * where one probe runs alone.
 */

/**
 * What a claim depends on, from which its null follows. (R·A)(A⁻¹·B) is the same model for every invertible A, so
 *
 * - `free` is said of E = R·B or of the function alone;
 * - `metric` of cosines between rows of R, which a rotation leaves as they are;
 * - `bound` of coordinates, to be held against R·Q, Qᵀ·B with random orthogonal Q.
 */
export type ClaimKind = "free" | "metric" | "bound";

interface ClaimSpec {
  readonly kind: ClaimKind;
  /** What is claimed, as a sentence that is true where the claim holds. */
  readonly statement: string;
  /** On which side of its null the effect lies where the claim holds. */
  readonly side: "greater" | "less";
}

export const CLAIMS = {
  "atlas.similarity": {
    kind: "metric",
    statement: "Recipes of words that people call similar have larger cosines than pairings by chance.",
    side: "greater",
  },
  "atlas.neighbours": {
    kind: "metric",
    statement: "A word's nearest recipes are of its own category more often than with permuted categories.",
    side: "greater",
  },
  "atlas.codebooks": {
    kind: "bound",
    statement:
      "The strongest words at an end of a signal are all of one category more often than at those of rotated signals.",
    side: "greater",
  },
  "sparsity.active": {
    kind: "bound",
    statement: "Fewer entries of R are active (over twice the mean |w|) than after a random rotation.",
    side: "less",
  },
  "sparsity.hoyer": {
    kind: "bound",
    statement: "Recipes are sparser (Hoyer) than after a random rotation.",
    side: "greater",
  },
  "sparsity.kurtosis": {
    kind: "bound",
    statement: "Recipes have heavier tails (kurtosis) than after a random rotation.",
    side: "greater",
  },
  "sparsity.gini": {
    kind: "bound",
    statement: "Signals are used more evenly (Gini) than after a random rotation.",
    side: "less",
  },
  "geometry.coherence": {
    kind: "metric",
    statement:
      "The basis' rows are more alike (mean squared cosine, weighted by their lengths) than random directions.",
    side: "greater",
  },
  "galaxy.silhouette": {
    kind: "metric",
    statement: "Words of a category cluster in recipe space (silhouette), compared with permuted categories.",
    side: "greater",
  },
  "galaxy.plane": {
    kind: "metric",
    statement:
      "In the plane of the first two principal components, too, they cluster more than permuted categories do.",
    side: "greater",
  },
  "algebra.recipe": {
    kind: "metric",
    statement:
      "Analogies are answered in recipe space more often than with answers permuted among questions.",
    side: "greater",
  },
  "algebra.embedding": {
    kind: "free",
    statement:
      "Analogies are answered in embedding space more often than with answers permuted among questions.",
    side: "greater",
  },
  "typo.recovery": {
    kind: "free",
    statement: "A typo costs the model less (ΔCE) than a random word of the same length and token count.",
    side: "less",
  },
  "layers.depth": {
    kind: "free",
    statement: "The lens comes closer to the final answer from layer to layer than over shuffled layers.",
    side: "greater",
  },
  "flow.concentration": {
    kind: "bound",
    statement: "A logit rests on fewer signals (share of the strongest eight) than after a random rotation.",
    side: "greater",
  },
  "ablation.output": {
    kind: "bound",
    statement: "Some single signal carries more of a fact than the best of as many random directions.",
    side: "greater",
  },
  "steer.sentiment": {
    kind: "free",
    statement: "Steering along an expression moves sentiment further than norm-matched random directions.",
    side: "greater",
  },
  "inception.alpha": {
    kind: "free",
    statement: "A concept needs a smaller push along its own direction than along random directions.",
    side: "less",
  },
  "genes.local": {
    kind: "free",
    statement:
      "A gene patch changes related text more, against unrelated text, than random patches of its norm.",
    side: "greater",
  },
  "crystallization.boundary": {
    kind: "free",
    statement: "A push of the same relative size does less in later layers than over shuffled layers.",
    side: "greater",
  },
  "hardtopk.cut": {
    kind: "bound",
    statement:
      "Keeping each recipe's strongest entries keeps more of its neighbours than after a random rotation.",
    side: "greater",
  },
  "certificate.seeds": {
    kind: "bound",
    statement: "Signals of another seed's model match this one's better than randomly rotated ones.",
    side: "greater",
  },
} as const satisfies Record<string, ClaimSpec>;

export type ClaimId = keyof typeof CLAIMS;

/** Claims that are corrected for together. */
export const FAMILY = Object.keys(CLAIMS).length;

/**
 * Draws that a null needs for one claim to hold after Holm's correction: p is 1/(draws + 1) at the least, and that times the
 * family has to stay below .05.
 */
export const LEAST_DRAWS = 20 * FAMILY;
