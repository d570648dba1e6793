/** OpenAI's completions API, with this server's additional fields. */
import * as v from "valibot";
import {
  between,
  changes,
  count,
  flag,
  LIMITS,
  model,
  optional,
  prompts,
  sampling,
  text,
  UNSUPPORTED,
  usage,
} from "./fields.ts";

/** OpenAI parameters that are not supported: only values without effect are accepted. */
const unsupported = {
  frequency_penalty: optional(between(0, 0, `${UNSUPPORTED} (only 0 is accepted)`)),
  presence_penalty: optional(between(0, 0, `${UNSUPPORTED} (only 0 is accepted)`)),
  logit_bias: optional(
    v.pipe(
      v.record(v.string(), v.unknown()),
      v.check((bias) => Object.keys(bias).length === 0, `${UNSUPPORTED}; use an intervention at hook_logits`),
    ),
  ),
  suffix: optional(v.literal("", `${UNSUPPORTED} (only "" is accepted)`)),
  user: optional(text),
};

export const completionRequest = v.pipe(
  v.strictObject({
    model,
    prompt: v.nullish(prompts, ""),
    max_tokens: v.nullish(count(1), 16),
    n: v.nullish(count(1, LIMITS.choices), 1),
    best_of: optional(count(1, LIMITS.choices)),
    echo: optional(flag),
    logprobs: optional(count(0, LIMITS.logprobs)),
    stream: optional(flag),
    stream_options: optional(
      v.strictObject({ include_usage: optional(flag), include_obfuscation: optional(flag) }),
    ),
    ...sampling,
    ...changes,
    ...unsupported,
  }),
  v.metadata({ ref: "CompletionRequest" }),
);
export type CompletionRequest = v.InferOutput<typeof completionRequest>;

const logprobs = v.object({
  tokens: v.array(v.string()),
  /** Log-probabilities in nats; null for the first token of an echoed prompt. */
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

/** Also the format of a stream's events, which hold the new part of their choices. */
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
    /** SHA-256 of the F32 weights, which identifies the model in gene patches. */
    checkpoint: v.nullable(v.string()),
    config: v.record(v.string(), v.unknown()),
    parameters: v.number(),
    tokens: v.number(),
    device: v.string(),
  }),
  v.metadata({ ref: "Model" }),
);
export const modelList = v.object({ object: v.literal("list"), data: v.array(modelCard) });
