import { takeTurn } from "../common/event-loop.ts";
import { prepareRun, type RunOptions } from "../interventions/prepare-run.ts";
import type { Logprob } from "../math/logits.ts";
import { chainHooks, type Hook, type HookSet, hostHooks } from "../transformer/hooks.ts";
import { forward, type InferenceModel, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";
import type { SamplingOptions } from "./sampling.ts";
import { type Sequence, startSequences } from "./sequence.ts";

/** Text, or token ids. */
export type Prompt = string | Int32Array | readonly number[];

export interface GenerateOptions extends SamplingOptions, RunOptions {
  /** The most tokens to generate for each prompt; as many as the context holds where it isn't said. */
  maxTokens?: number;
  /** Text that ends a sequence, and isn't part of it. */
  stop?: string | readonly string[];
  /**
   * An integer. The same seed gives a prompt the same tokens, in a batch or alone; equal prompts of a batch draw from
   * different streams. Random where it isn't said.
   */
  seed?: number;
  /** Report each token's log-probability, and those of this many likeliest tokens. */
  logprobs?: number;
  /** Ends generation by throwing its reason. */
  signal?: AbortSignal;
  /** `false` runs the whole text again for each token. Default true. */
  cached?: boolean;
  /**
   * Run on prompt and generated tokens alike. A prompt passes through in one piece; the readout's hooks see only the rows
   * that are sampled from.
   */
  hooks?: readonly Hook[];
}

/** A generated token. */
export interface TokenEvent {
  type: "token";
  /** Which of the prompts it continues. */
  index: number;
  id: number;
  /**
   * What may be shown now. It lags behind `id` while a character is incomplete, or while the text could still become
   * a stop string.
   */
  text: string;
  /** With `logprobs`: nats, under the model's own distribution. */
  logprob?: number;
  topLogprobs?: (Logprob & { text: string })[];
}

/** A sequence's last event. */
export interface FinishEvent {
  type: "finish";
  index: number;
  /** A stop string; `maxTokens` or the context's end; `<|endoftext|>`, which has no event of its own. */
  reason: "stop" | "length" | "endOfText";
  /** What was held back until now. */
  text: string;
}

export type GenerateEvent = TokenEvent | FinishEvent;

/**
 * Continues prompts, all at once. Their events alternate, and each prompt's last is its finish event. Prompt and
 * generated tokens together never exceed the context: there a sequence ends with reason `length`. An empty prompt
 * starts from `<|endoftext|>`.
 *
 * @param loaded without a tokenizer, prompts are ids and text is empty
 * @throws ReflowError `data` for a prompt longer than the context and ids outside the vocabulary, `usage` for options
 *   out of range and interventions that can't be applied, `numerics` for those that leave float32's range
 */
export async function* generate(
  loaded: InferenceModel,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { backend, config } = loaded;
  const { cached = true, signal } = options;
  const ownHooks = options.hooks && hostHooks(backend, config, options.hooks);
  const sequences = startSequences(loaded, prompts, options);
  signal?.throwIfAborted();
  // The last token of all is only said, never read.
  const passages = sequences.map(({ length, ids }) => ({
    prompt: length,
    readout: length - 1,
    end: ids.length - 1,
  }));
  const { model, hooks: interventions } = await prepareRun(loaded, options, passages, signal);
  const hooks = chainHooks(interventions, ownHooks);
  for (const s of sequences) yield* s.begin();
  /** Sequence i of these is in slot i. */
  const active = sequences.filter((s) => !s.finished);
  if (active.length === 0) return;

  const state = runState(model, active, cached, ownHooks !== undefined);
  try {
    for (let first = true; active.length > 0; first = false) {
      const run = first || !cached ? runWhole : runLast;
      const rows = await run(model, state, active, signal, hooks);
      for (const [slot, s] of active.entries()) yield* s.next(rows[slot]);
      // The last sequence takes the place of one that ended.
      for (let slot = active.length - 1; slot >= 0; slot--) {
        if (!active[slot].finished) continue;
        const last = active.pop()!;
        if (slot === active.length) continue;
        active[slot] = last;
        state.move(active.length, slot);
      }
    }
  } finally {
    state.free();
  }
}

/** Memory for these sequences up to their ends. */
function runState(
  { backend, config }: InferenceModel,
  sequences: readonly Sequence[],
  cached: boolean,
  hooked: boolean,
): RunState {
  const slots = sequences.length;
  const context = Math.max(...sequences.map((s) => s.ids.length));
  const longest = cached ? Math.max(...sequences.map((s) => s.length)) : context;
  // A hook sees a prompt as a whole; interventions act on rows.
  const rows = Math.max(slots, hooked ? longest : Math.min(longest, PREFILL_ROWS));
  const state = new RunState(backend, config, { slots, context, rows, logitRows: slots });
  sequences.forEach((s, slot) => {
    state.sequences[slot] = s.index;
  });
  return state;
}

/** Each sequence from its beginning; returns the logits (V) of each one's last token. */
async function runWhole(
  model: InferenceModel,
  state: RunState,
  sequences: readonly Sequence[],
  signal: AbortSignal | undefined,
  hooks?: HookSet,
): Promise<Float32Array[]> {
  const last: Float32Array[] = [];
  for (const [slot, s] of sequences.entries()) {
    const whole = { ids: s.ids.subarray(0, s.length), slot, logits: 1, hooks, signal };
    for await (const { logits } of prefill(model, state, whole)) {
      if (logits) last.push((await model.backend.read(logits)) as Float32Array);
    }
  }
  return last;
}

/** Each sequence's last token, the cache holding the others; returns the logits (V) of each. */
async function runLast(
  model: InferenceModel,
  state: RunState,
  sequences: readonly Sequence[],
  signal: AbortSignal | undefined,
  hooks?: HookSet,
): Promise<Float32Array[]> {
  const step = {
    ids: Int32Array.from(sequences, (s) => s.ids[s.length - 1]),
    start: Int32Array.from(sequences, (s) => s.length - 1),
    slot: 0,
    logits: sequences.length,
  };
  const logits = (await forward(model, state, step, hooks))!;
  const all = (await model.backend.read(logits)) as Float32Array;
  await takeTurn(signal);
  const V = logits.shape[1];
  return sequences.map((_, i) => all.subarray(i * V, (i + 1) * V));
}
