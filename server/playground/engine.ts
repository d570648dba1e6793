/** What the page asks of a model, wherever that runs: on this server (`remote.ts`) or in the browser (`local.ts`). */

import type { BlastRadius } from "../../runtime/analysis/blast-radius.ts";
import type { ChanceBand } from "../../runtime/analysis/chance-band.ts";
import type { Explanation } from "../../runtime/analysis/explain.ts";
import type { Lens } from "../../runtime/analysis/logit-lens.ts";
import type { Intervention } from "../../runtime/interventions/spec.ts";
import type { Lexicon, LexiconEntry, MapPoint, Neighbour } from "../../runtime/signals/lexicon.ts";

/** A patch by its expression, or by the name it was kept under. */
export type PatchChoice = { expression: string } | { name: string };

/** What is done to the model. */
export interface Changes {
  interventions: Intervention[];
  patch?: PatchChoice;
}

export interface ModelInfo {
  name: string;
  device: string;
  parameters: number;
  layers: number;
  /** 0 where the embedding is not factored. */
  signals: number;
}

export interface TokenText {
  id: number;
  text: string;
}

export type RunName = "default" | "steered";

/** A generated token, or what was held back when a run ended. */
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

/** All of it rejects with a {@link Failure}, or with the signal's reason. */
export interface Engine {
  info(): Promise<ModelInfo>;
  tokenize(text: string): Promise<TokenText[]>;
  /** Both runs side by side, of which one must be changed. */
  steer(request: SteerRequest, signal: AbortSignal): AsyncIterable<SteerEvent>;
  band(request: Changes & { prompt: string; target: string }, signal: AbortSignal): Promise<ChanceBand>;
  token(id: number, patch?: PatchChoice): Promise<TokenEntry>;
  signal(id: number, patch?: PatchChoice): Promise<SignalEntry>;
  /** z_s of a signal at each token of a text. */
  fires(request: Changes & { text: string; signal: number }): Promise<number[]>;
  explain(request: Changes & { text: string; position: number }): Promise<Explanation>;
  lens(request: Changes & { text: string }, signal: AbortSignal): Promise<Lens>;
  map(count: number, patch?: PatchChoice): Promise<Plane>;
  blastRadius(patch: PatchChoice, text: string, signal: AbortSignal): Promise<BlastRadius>;
  /** Names, sorted. */
  patches(): Promise<string[]>;
  /** Undefined of a patch that was kept as edits. */
  expressionOf(name: string): Promise<string | undefined>;
  savePatch(name: string, expression: string): Promise<void>;
  deletePatch(name: string): Promise<void>;
}

/** What went wrong, and what to do about it. */
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

/** Changes nothing, to the bit: for those who ask for both runs before there is anything to steer by. */
export const nothingFor = ({ signals }: ModelInfo): Intervention => ({
  op: "add",
  target: signals > 0 ? { signal: 0 } : { token: " the" },
  hook: "hook_embed",
  strength: 0,
});

/** Entries of what is listed. */
export const LISTED = { signals: 12, neighbours: 12, codebook: 16, lens: 5 } as const;
