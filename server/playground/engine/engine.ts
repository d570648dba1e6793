/** The page's interface to a model, which runs either on this server (`remote.ts`) or in the browser (`local.ts`). */

import type { BlastRadius } from "../../../runtime/analysis/blast-radius.ts";
import type { ChanceBand } from "../../../runtime/analysis/chance-band.ts";
import type { Explanation } from "../../../runtime/analysis/explain.ts";
import type { Lens } from "../../../runtime/analysis/logit-lens.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import type { Lexicon, LexiconEntry, MapPoint, Neighbour } from "../../../runtime/signals/lexicon.ts";

/** A gene patch, given by its expression or by the name it was saved under. */
export type PatchChoice = { expression: string } | { name: string };

/** The changes that are applied to the model in one request. */
export interface Changes {
  interventions: Intervention[];
  patch?: PatchChoice;
}

export interface ModelInfo {
  name: string;
  device: string;
  parameters: number;
  layers: number;
  /** Number of signals S; 0 if the embedding is not factored. */
  signals: number;
}

export interface TokenText {
  id: number;
  text: string;
}

export type RunName = "default" | "steered";

/** A generated token, or the text that was still buffered when a run ended. */
export type SteerEvent =
  | ({ type: "token"; run: RunName; logprob: number } & TokenText)
  | { type: "finish"; run: RunName; text: string };

export interface SteerRequest extends Changes {
  prompt: string;
  maxTokens: number;
  temperature: number;
  seed: number;
}

export type TokenEntry = LexiconEntry & { neighbours: Neighbour[] };
export type SignalEntry = ReturnType<Lexicon["signal"]>;
export type Plane = { points: MapPoint[]; shares: readonly number[] };
export type { BlastRadius, ChanceBand, Explanation, Intervention, Lens, Neighbour };

/** Every method rejects with a {@link Failure}, or with the reason of the `AbortSignal`. */
export interface Engine {
  info(): Promise<ModelInfo>;
  tokenize(text: string): Promise<TokenText[]>;
  /** Generates the default and the steered run side by side. The request must contain at least one change. */
  steer(request: SteerRequest, signal: AbortSignal): AsyncIterable<SteerEvent>;
  band(request: Changes & { prompt: string; target: string }, signal: AbortSignal): Promise<ChanceBand>;
  token(id: number, patch?: PatchChoice): Promise<TokenEntry>;
  signal(id: number, patch?: PatchChoice): Promise<SignalEntry>;
  /** Activation z_s of one signal at each token of a text. */
  activations(request: Changes & { text: string; signal: number }): Promise<number[]>;
  explain(request: Changes & { text: string; position: number }): Promise<Explanation>;
  lens(request: Changes & { text: string }, signal: AbortSignal): Promise<Lens>;
  map(count: number, patch?: PatchChoice): Promise<Plane>;
  blastRadius(patch: PatchChoice, text: string, signal: AbortSignal): Promise<BlastRadius>;
  /** Names of the saved patches, sorted. */
  patches(): Promise<string[]>;
  /** The expression of a saved patch; undefined if the patch was saved as a list of edits. */
  patchExpression(name: string): Promise<string | undefined>;
  savePatch(name: string, expression: string): Promise<void>;
  deletePatch(name: string): Promise<void>;
}

/** An error to show to the user: what failed, and what to do about it. */
export class Failure extends Error {
  override readonly name = "Failure";

  constructor(
    message: string,
    readonly help?: string,
    readonly code?: string,
  ) {
    super(message);
  }
}

/** An intervention of strength 0, bit-identical to none. It lets the page request both runs while the list of interventions is empty. */
export const zeroIntervention = ({ signals }: ModelInfo): Intervention => ({
  op: "add",
  target: signals > 0 ? { signal: 0 } : { token: " the" },
  hook: "hook_embed",
  strength: 0,
});

/** Number of entries in each list of the page. */
export const LIST_LENGTHS = { signals: 12, neighbours: 12, codebook: 16, lens: 5 } as const;
