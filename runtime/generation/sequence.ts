/** A sequence during generation: its ids, its random draws and its events. */
import { ReflowError } from "../common/errors.ts";
import { logprobs } from "../math/logits.ts";
import { Random } from "../math/random.ts";
import type { StreamingDecoder, Tokenizer } from "../text/tokenizer.ts";
import { checkIds, type InferenceModel, tokenCount } from "../transformer/inference.ts";
import type { FinishEvent, GenerateEvent, GenerateOptions, Prompt } from "./options.ts";
import { Sampler } from "./sampling.ts";
import { StoppableText } from "./stop-strings.ts";

/** Settings shared by all sequences of a call. */
interface Course {
  tokenizer?: Tokenizer;
  sampler: Sampler;
  vocabSize: number;
  /** The number of most likely tokens to report. Default: no log-probabilities at all. */
  logprobs?: number;
}

export class Sequence {
  /** Prompt and generated tokens, of which the first `length` are valid. */
  readonly ids: Int32Array;
  length: number;
  finished = false;
  readonly #course: Course;
  /** The ids so far. */
  readonly #seen: Set<number>;
  readonly #random: Random;
  readonly #text: StoppableText;

  constructor(
    readonly index: number,
    prompt: Int32Array,
    room: number,
    course: Course,
    { random, text }: { random: Random; text: StoppableText },
  ) {
    this.ids = new Int32Array(room);
    this.ids.set(prompt);
    this.length = prompt.length;
    this.#course = course;
    this.#seen = new Set(prompt);
    this.#random = random;
    this.#text = text;
  }

  /** Ends the sequence at once if there is no room beyond the prompt. */
  begin(): GenerateEvent[] {
    return this.length === this.ids.length ? [this.#finish("length")] : [];
  }

  /** Draws the next token from the logits (V) after the last one. */
  next(logits: Float32Array): GenerateEvent[] {
    const { tokenizer, sampler } = this.#course;
    const id = sampler.next(logits, this.#seen, this.#random);
    if (id === tokenizer?.endOfText) return [this.#finish("endOfText")];
    this.ids[this.length++] = id;
    this.#seen.add(id);
    const text = this.#text.push(id);
    const token = { type: "token", index: this.index, id, text, ...this.#report(logits, id) } as const;
    if (this.#text.stopped) return [token, this.#finish("stop")];
    return this.length === this.ids.length ? [token, this.#finish("length")] : [token];
  }

  #finish(reason: FinishEvent["reason"]): FinishEvent {
    this.finished = true;
    return { type: "finish", index: this.index, reason, text: this.#text.end() };
  }

  #report(logits: Float32Array, id: number) {
    const { tokenizer, vocabSize, logprobs: count } = this.#course;
    if (count === undefined) return {};
    const { logprob, top } = logprobs(logits, id, count, vocabSize);
    return { logprob, topLogprobs: top.map((t) => ({ ...t, text: tokenizer?.tokenText(t.id) ?? "" })) };
  }
}

/** @throws ReflowError as {@link generate} */
export function startSequences(
  model: InferenceModel,
  prompts: readonly Prompt[],
  options: GenerateOptions,
): Sequence[] {
  const { config, tokenizer } = model;
  const { maxTokens = config.context, seed = crypto.getRandomValues(new Uint32Array(1))[0] } = options;
  const stops = typeof options.stop === "string" ? [options.stop] : (options.stop ?? []);
  const vocabSize = tokenCount(model);
  const sampler = new Sampler(options, vocabSize);
  requireCount("maxTokens", maxTokens);
  requireCount("logprobs", options.logprobs ?? 0);
  if (!Number.isSafeInteger(seed)) throw new ReflowError("usage", `seed is ${seed}`, "use an integer");
  if (stops.includes("")) throw new ReflowError("usage", "a stop string is empty", "leave it out");
  if (stops.length > 0 && !tokenizer) throw noTokenizer("stop strings need one");
  const course = { tokenizer, sampler, vocabSize, logprobs: options.logprobs };
  const occurrences = new Map<string, number>();
  return prompts.map((prompt, index) => {
    const ids = promptIds(config, tokenizer, prompt);
    if (ids.length > config.context) {
      throw new ReflowError(
        "data",
        `prompt ${index} has ${ids.length} tokens, the context ${config.context}`,
        "shorten the prompt, for example by removing its start",
      );
    }
    const key = ids.join();
    const occurrence = occurrences.get(key) ?? 0;
    occurrences.set(key, occurrence + 1);
    return new Sequence(index, ids, Math.min(config.context, ids.length + maxTokens), course, {
      random: new Random(`${seed}/sampling/${occurrence}`),
      text: new StoppableText(tokenizer?.decoder() ?? silent, stops),
    });
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
