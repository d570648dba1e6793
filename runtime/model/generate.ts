import { ReflowError } from "../errors.ts";
import type { Subject } from "../interventions/directions.ts";
import { prepareRun, type RunOptions } from "../interventions/run.ts";
import type { StreamingDecoder, Tokenizer } from "../text/tokenizer.ts";
import { chainHooks, type Hook, type HookSet, hostHooks } from "./hooks.ts";
import { checkIds, forward, type InferenceModel, PREFILL_ROWS, prefill } from "./infer.ts";
import { Random } from "./random.ts";
import { type Logprob, logprobs, Sampler, type SamplingOptions } from "./sampling.ts";
import { RunState } from "./state.ts";
import { StoppableText } from "./stop.ts";
import { takeTurn } from "./turn.ts";

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

interface Sequence {
  index: number;
  /** Prompt and generated tokens: the first `length` are there, and never more than all. */
  ids: Int32Array;
  length: number;
  /** The ids that are there. */
  seen: Set<number>;
  random: Random;
  text: StoppableText;
}

/**
 * Continues prompts, all at once. Their events alternate, and each prompt's last is its finish event. Prompt and
 * generated tokens together never exceed the context: there a sequence ends with reason `length`. An empty prompt
 * starts from `<|endoftext|>`.
 *
 * @param subject without a tokenizer, prompts are ids and text is empty
 * @throws ReflowError `data` for a prompt longer than the context and ids outside the vocabulary, `usage` for options
 *   out of range and interventions that can't be applied, `numerics` for those that leave float32's range
 */
export async function* generate(
  subject: Subject,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { tokenizer } = subject;
  const { backend, config } = subject.model;
  const { cached = true, signal } = options;
  const vocabSize = Math.min(tokenizer?.vocabSize ?? Infinity, config.vocab_size);
  const sampler = new Sampler(options, vocabSize);
  const ownHooks = options.hooks && hostHooks(backend, config, options.hooks);
  const sequences = startSequences(subject, prompts, options);
  signal?.throwIfAborted();
  // The last token of all is only said, never read.
  const passages = sequences.map(({ length, ids }) => ({
    prompt: length,
    readout: length - 1,
    end: ids.length - 1,
  }));
  const { model, hooks: interventions } = await prepareRun(subject, options, passages, signal);
  const hooks = chainHooks(interventions, ownHooks);
  for (const s of sequences) if (s.length === s.ids.length) yield finished(s, "length");
  /** Sequence i of these is in slot i. */
  const active = sequences.filter((s) => s.length < s.ids.length);
  if (active.length === 0) return;

  const state = runState(model, active, cached, ownHooks !== undefined);
  try {
    for (let first = true; active.length > 0; first = false) {
      const run = first || !cached ? runWhole : runLast;
      const rows = await run(model, state, active, signal, hooks);
      const reasons: (FinishEvent["reason"] | undefined)[] = [];
      for (const [slot, s] of active.entries()) {
        const id = sampler.next(rows[slot], s.seen, s.random);
        if (id === tokenizer?.endOfText) {
          reasons[slot] = "endOfText";
        } else {
          s.ids[s.length++] = id;
          s.seen.add(id);
          yield {
            type: "token",
            index: s.index,
            id,
            text: s.text.push(id),
            ...reportLogprobs(rows[slot], id),
          };
          if (s.text.stopped) reasons[slot] = "stop";
          else if (s.length === s.ids.length) reasons[slot] = "length";
        }
        if (reasons[slot]) yield finished(s, reasons[slot]);
      }
      // The last sequence takes the place of one that ended.
      for (let slot = active.length - 1; slot >= 0; slot--) {
        if (!reasons[slot]) continue;
        const last = active.pop()!;
        if (slot === active.length) continue;
        active[slot] = last;
        state.move(active.length, slot);
      }
    }
  } finally {
    state.free();
  }

  function reportLogprobs(logits: Float32Array, id: number): Pick<TokenEvent, "logprob" | "topLogprobs"> {
    if (options.logprobs === undefined) return {};
    const { logprob, top } = logprobs(logits, id, options.logprobs, vocabSize);
    return { logprob, topLogprobs: top.map((t) => ({ ...t, text: tokenizer?.tokenText(t.id) ?? "" })) };
  }
}

const finished = (s: Sequence, reason: FinishEvent["reason"]): FinishEvent => ({
  type: "finish",
  index: s.index,
  reason,
  text: s.text.end(),
});

function startSequences(
  { model: { config }, tokenizer }: Subject,
  prompts: readonly Prompt[],
  options: GenerateOptions,
): Sequence[] {
  const { maxTokens = config.context, seed = crypto.getRandomValues(new Uint32Array(1))[0] } = options;
  const stops = typeof options.stop === "string" ? [options.stop] : (options.stop ?? []);
  requireCount("maxTokens", maxTokens);
  requireCount("logprobs", options.logprobs ?? 0);
  if (!Number.isSafeInteger(seed)) throw new ReflowError("usage", `seed is ${seed}`, "use an integer");
  if (stops.includes("")) throw new ReflowError("usage", "a stop string is empty", "leave it out");
  if (stops.length > 0 && !tokenizer) throw noTokenizer("stop strings need one");
  const occurrences = new Map<string, number>();
  return prompts.map((prompt, index) => {
    const ids = promptIds(config, tokenizer, prompt);
    if (ids.length > config.context) {
      throw new ReflowError(
        "data",
        `prompt ${index} has ${ids.length} tokens, the context ${config.context}`,
        "shorten the prompt, from its beginning for example",
      );
    }
    const key = ids.join();
    const occurrence = occurrences.get(key) ?? 0;
    occurrences.set(key, occurrence + 1);
    const all = new Int32Array(Math.min(config.context, ids.length + maxTokens));
    all.set(ids);
    return {
      index,
      ids: all,
      length: ids.length,
      seen: new Set(ids),
      random: new Random(`${seed}/sampling/${occurrence}`),
      text: new StoppableText(tokenizer?.decoder() ?? silent, stops),
    };
  });
}

const silent: StreamingDecoder = { push: () => "", end: () => "" };

function promptIds(
  config: InferenceModel["config"],
  tokenizer: Tokenizer | undefined,
  prompt: Prompt,
): Int32Array {
  if (typeof prompt === "string" && prompt !== "" && !tokenizer) throw noTokenizer("give token ids");
  const ids = typeof prompt === "string" ? (tokenizer?.encode(prompt) ?? []) : prompt;
  if (ids.length > 0) return checkIds(config, ids);
  if (!tokenizer) throw noTokenizer("give at least one token id");
  return Int32Array.of(tokenizer.endOfText);
}

const noTokenizer = (help: string): ReflowError =>
  new ReflowError("usage", "the model has no tokenizer", help);

function requireCount(name: string, value: number): void {
  if (!(Number.isInteger(value) && value >= 0)) {
    throw new ReflowError("usage", `${name} is ${value}`, "use a whole number from 0 on");
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
