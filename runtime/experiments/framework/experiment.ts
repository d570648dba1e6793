import type { Matrix } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import type { Model } from "../../model/model.ts";
import type { Words } from "../../text/word-sets.ts";
import type { ClaimResult, ClaimSpecs } from "./claims.ts";
import type { Figure } from "./figure.ts";

/** One experiment of the suite: `run` examines a model and returns everything that the report shows. */
export interface Experiment {
  readonly id: string;
  /** The question it answers, in plain words. */
  readonly question: string;
  /** How it is done and what its null is: the introduction in the report. */
  readonly method: string;
  /** The figure that the original work reported, completing "The original work reported …". */
  readonly reported?: string;
  /** Every claim that `run` may make. They are part of the family that p-values are corrected for. */
  readonly claims: ClaimSpecs;
  /** Returns why the experiment does not apply to this model, or undefined if it does. */
  inapplicable?(context: ExperimentContext): string | undefined;
  run(context: ExperimentContext): Promise<Findings>;
}

/**
 * The input of an experiment. All randomness comes from {@link ExperimentContext.random}: the same seed gives the same findings.
 */
export interface ExperimentContext {
  readonly model: ExperimentModel;
  /** Optional models to compare with: the tied twin, a trained `reflow-topk`, and the same model from other seeds. */
  readonly twin?: ExperimentModel;
  readonly topk?: ExperimentModel;
  readonly seeds: readonly ExperimentModel[];
  readonly words: Words;
  /** Held-out text as token ids; each document follows `<|endoftext|>`. */
  readonly text: Int32Array;
  /** Numbers of draws for nulls without and with a forward pass per draw; either is enough for a claim to hold. */
  readonly draws: { cheap: number; forward: number };
  /** Fewer prompts, positions and words, but never fewer draws than the family requires. */
  readonly quick: boolean;
  /**
   * A separate stream of random numbers per purpose, independent of which other experiments run. The purpose seeds the stream:
   * rewording it changes the draws.
   */
  random(purpose: string): Random;
  /**
   * Reports the completed fraction of this experiment, from 0 to 1, if given; yields to other tasks. Await it often: it
   * throws once the user has cancelled.
   */
  progress(share?: number): Promise<void>;
}

/** A model with its tables on the host, now and at initialisation. */
export interface ExperimentModel {
  readonly model: Model;
  /** R (V,S), rows of the tokenizer's V tokens; for an unfactored model its embedding, S being d. */
  readonly recipe: Matrix;
  /** B (S,d); absent for an unfactored model, where it would be the identity. */
  readonly basis?: Matrix;
  /** E = R·B (V,d) */
  readonly embedding: Matrix;
  /** R and B at initialisation, reproduced from the run's seed; absent if the checkpoint does not record it. */
  readonly initial?: { recipe: Matrix; basis?: Matrix };
}

/** The result of an experiment. */
export interface Findings {
  /** Settings and sample sizes: numbers of words, prompts, layers and so on. */
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
  readonly claims: readonly ClaimResult[];
  /** Data, not images. */
  readonly figures: readonly Figure[];
  /** Caveats for the reader: words left out, comparisons that do not apply. */
  readonly notes: readonly string[];
}
