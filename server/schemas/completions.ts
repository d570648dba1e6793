/** OpenAI's completions, and what of ours goes with them. */
import * as v from "valibot";
import {
  between,
  changes,
  count,
  flag,
  MOST,
  maybe,
  model,
  prompts,
  sampling,
  text,
  usage,
} from "./fields.ts";

/** Parameters of OpenAI's that this server hasn't got: only the values that change nothing. */
const absent = {
  frequency_penalty: maybe(between(0, 0)),
  presence_penalty: maybe(between(0, 0)),
  logit_bias: maybe(
    v.pipe(
      v.record(v.string(), v.unknown()),
      v.check((bias) => Object.keys(bias).length === 0, "nothing (an intervention at hook_logits)"),
    ),
  ),
  suffix: maybe(v.literal("", "nothing: there is no infilling")),
  user: maybe(text),
};

export const completionRequest = v.pipe(
  v.strictObject({
    model,
    prompt: v.nullish(prompts, ""),
    max_tokens: v.nullish(count(1), 16),
    n: v.nullish(count(1, MOST.choices), 1),
    best_of: maybe(count(1, MOST.choices)),
    echo: maybe(flag),
    logprobs: maybe(count(0, MOST.logprobs)),
    stream: maybe(flag),
    stream_options: maybe(v.strictObject({ include_usage: maybe(flag), include_obfuscation: maybe(flag) })),
    ...sampling,
    ...changes,
    ...absent,
  }),
  v.metadata({ ref: "CompletionRequest" }),
);
export type CompletionRequest = v.InferOutput<typeof completionRequest>;

const logprobs = v.object({
  tokens: v.array(v.string()),
  /** Nats; null of an echoed prompt's first token. */
  token_logprobs: v.array(v.nullable(v.number())),
  top_logprobs: v.nullable(v.array(v.nullable(v.record(v.string(), v.number())))),
  text_offset: v.array(v.number()),
});
export type Logprobs = v.InferOutput<typeof logprobs>;

const choice = v.object({
  index: v.number(),
  text: v.string(),
  logprobs: v.nullable(logprobs),
  finish_reason: v.nullable(v.picklist(["stop", "length"])),
});
export type Choice = v.InferOutput<typeof choice>;

/** Also what each event of a stream is: with what is new of its choices. */
export const completion = v.pipe(
  v.object({
    id: v.string(),
    object: v.literal("text_completion"),
    created: v.number(),
    model: v.string(),
    choices: v.array(choice),
    usage: v.optional(v.nullable(usage)),
  }),
  v.metadata({ ref: "Completion" }),
);
export type Completion = v.InferOutput<typeof completion>;

export const modelCard = v.pipe(
  v.object({
    id: v.string(),
    object: v.literal("model"),
    created: v.number(),
    owned_by: v.string(),
    /** SHA-256 of the F32 weights: what a gene patch names. */
    checkpoint: v.nullable(v.string()),
    config: v.record(v.string(), v.unknown()),
    parameters: v.number(),
    tokens: v.number(),
    device: v.string(),
  }),
  v.metadata({ ref: "Model" }),
);
export const modelList = v.object({ object: v.literal("list"), data: v.array(modelCard) });
