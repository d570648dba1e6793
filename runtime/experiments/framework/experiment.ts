import type { Matrix } from "../../math/matrix.ts";
import type { Random } from "../../math/random.ts";
import type { Model } from "../../model/model.ts";
import type { Words } from "../../text/word-sets.ts";
import type { ClaimId, ClaimKind } from "./claims.ts";
import type { Figure } from "./figure.ts";

/** One experiment of the suite: `run` looks at a model and returns everything that the report shows. */
export interface Probe {
  readonly id: ProbeId;
  /** What is asked, as a person would. */
  readonly question: string;
  /** Undefined where it applies; otherwise why it doesn't, for the report. */
  inapplicable?(context: ProbeContext): string | undefined;
  run(context: ProbeContext): Promise<ProbeFindings>;
}

/** In the order in which the report shows them. */
export const PROBE_IDS = [
  "atlas",
  "sparsity",
  "geometry",
  "galaxy",
  "algebra",
  "typo",
  "layers",
  "flow",
  "ablation",
  "steer",
  "inception",
  "genes",
  "crystallization",
  "hardtopk",
] as const;
export type ProbeId = (typeof PROBE_IDS)[number];

/** What probes are given. Everything random comes from {@link ProbeContext.random}: the same seed gives the same findings. */
export interface ProbeContext {
  readonly model: ProbedModel;
  /** The tied twin, a trained `reflow-topk`, and the same model from other seeds, where the user has them. */
  readonly twin?: ProbedModel;
  readonly topk?: ProbedModel;
  readonly seeds: readonly ProbedModel[];
  readonly words: Words;
  /** Held-out text as ids, its documents each after `<|endoftext|>`. */
  readonly text: Int32Array;
  /** Draws of a null that costs no forward pass, and of one that does: enough of either for a claim to hold. */
  readonly draws: { cheap: number; forward: number };
  /** Fewer prompts, positions and words, never fewer draws than the family needs. */
  readonly quick: boolean;
  /** A stream of its own for each purpose; independent of which other probes run. */
  random(purpose: string): Random;
  /**
   * To be awaited often. Says how much of this probe is done, from 0 to 1, where it is said; gives other tasks a turn; and
   * throws once the user has cancelled.
   */
  progress(share?: number): Promise<void>;
}

/** A model with its tables on the host, and as it was at initialisation. */
export interface ProbedModel {
  readonly model: Model;
  /** R (V,S), of the tokenizer's V tokens; of an unfactored model its embedding, S being d. */
  readonly recipe: Matrix;
  /** B (S,d); the identity is left out in an unfactored model. */
  readonly basis?: Matrix;
  /** E = R·B (V,d) */
  readonly embedding: Matrix;
  /** R and B as the run began, by its seed; absent where the checkpoint doesn't say. */
  readonly initial?: { recipe: Matrix; basis?: Matrix };
}

/** A figure of a claim, before the family is corrected for. */
export interface ClaimResult {
  readonly id: ClaimId;
  readonly effect: number;
  /** 95%, where it makes sense. */
  readonly interval?: readonly [low: number, high: number];
  readonly null: {
    readonly name: string;
    readonly mean: number;
    readonly sd: number;
    readonly draws: number;
  };
  readonly p: number;
}

/** What a probe returns. */
export interface ProbeFindings {
  /** What it was run with: numbers of words, prompts, layers and so on. */
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
  readonly claims: readonly ClaimResult[];
  /** Data, not pixels. */
  readonly figures: readonly Figure[];
  /** What a reader must know: words left out, arms that don't apply. */
  readonly notes: readonly string[];
}

/** A claim as it is reported. */
export interface Claim extends ClaimResult {
  readonly kind: ClaimKind;
  readonly statement: string;
  readonly pHolm: number;
  /** pHolm < .05: nothing else is worded as found. */
  readonly holds: boolean;
}

/** A probe's entry of `results.json`. */
export interface ProbeResult extends Omit<ProbeFindings, "claims"> {
  readonly id: ProbeId;
  /** Why there is nothing, where the experiment doesn't apply to this model. */
  readonly inapplicable?: string;
  readonly question: string;
  /** SHA-256 of the F32 weights; "unknown" where the model doesn't say. */
  readonly checkpoint: string;
  readonly seed: number;
  readonly claims: readonly Claim[];
}
