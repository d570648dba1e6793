import type { RunOptions } from "../interventions/prepare-run.ts";
import type { Logprob } from "../math/logits.ts";
import type { Hook } from "../transformer/hooks.ts";
import type { SamplingOptions } from "./sampling.ts";

/** Text, or token ids. */
export type Prompt = string | Int32Array | readonly number[];
export interface GenerateOptions extends SamplingOptions, RunOptions {
  /** The maximum number of tokens to generate for each prompt. Default: as many as the context holds. */
  maxTokens?: number;
  /** Text that ends a sequence; it is not part of the output. */
  stop?: string | readonly string[];
  /**
   * An integer. The same seed gives a prompt the same tokens, in a batch or alone; equal prompts in a batch use different
   * random streams. Default: random.
   */
  seed?: number;
  /** Reports the log-probability of each token, and those of this many most likely tokens. */
  logprobs?: number;
  /** Aborts generation by throwing the signal's reason. */
  signal?: AbortSignal;
  /** `false` recomputes the whole text for each token. Default: true. */
  cached?: boolean;
  /**
   * Called for prompt and generated tokens. A prompt runs in one pass; hooks of the readout see only the rows that are
   * sampled from.
   */
  hooks?: readonly Hook[];
}

/** A generated token. */
export interface TokenEvent {
  type: "token";
  /** The index of its prompt. */
  index: number;
  id: number;
  /**
   * Text that may be shown now. It lags behind `id` while a character is incomplete, or while the text may be the start of a
   * stop string.
   */
  text: string;
  /** With `logprobs`: in nats, before penalties, temperature and truncation. */
  logprob?: number;
  topLogprobs?: (Logprob & { text: string })[];
}

/** The last event of a sequence. */
export interface FinishEvent {
  type: "finish";
  index: number;
  /** `stop`: a stop string; `length`: `maxTokens` or the end of the context; `endOfText`: `<|endoftext|>`, which has no event of its own. */
  reason: "stop" | "length" | "endOfText";
  /** Text that was held back until now. */
  text: string;
}
export type GenerateEvent = TokenEvent | FinishEvent;
