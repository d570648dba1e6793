import * as v from "valibot";
import {
  changes,
  count,
  flag,
  LIMITS,
  model,
  optional,
  prompt,
  text,
  token,
  tokenText,
  UNSUPPORTED,
} from "./fields.ts";

const NAME = "the name of a hook point, at most 200 characters";
const hookName = v.pipe(v.string(NAME), v.nonEmpty(NAME), v.maxLength(200, NAME));

/** Text or token ids for one forward pass. */
const input = prompt;

export const activationsRequest = v.pipe(
  v.strictObject({
    model,
    input,
    /** Names of hook points, where `*` matches any text: `blocks.*.hook_resid_post`. */
    names: v.union(
      [
        hookName,
        v.pipe(
          v.array(hookName),
          v.nonEmpty("one or more names"),
          v.maxLength(LIMITS.listed, `at most ${LIMITS.listed} names`),
        ),
      ],
      "the name of a hook point, or a list of names",
    ),
    ...changes,
  }),
  v.metadata({ ref: "ActivationsRequest" }),
);
const tokens = v.array(v.object(tokenText));
export const activations = v.pipe(
  v.object({
    tokens,
    activations: v.record(
      v.string(),
      v.object({
        shape: v.array(v.number()),
        /** Row-major; a Float32Array in MessagePack. */
        data: v.union([v.array(v.number()), v.instance(Float32Array)]),
      }),
    ),
  }),
  v.metadata({ ref: "Activations" }),
);

export const lensRequest = v.pipe(
  v.strictObject({
    model,
    input,
    top: v.nullish(count(1, LIMITS.logprobs), 5),
    positions: optional(v.pipe(v.array(count(0), "a list of positions"), v.nonEmpty("a list of positions"))),
    ...changes,
  }),
  v.metadata({ ref: "LensRequest" }),
);
export const lens = v.pipe(
  v.object({
    tokens,
    positions: v.array(v.number()),
    hooks: v.array(v.string()),
    cells: v.array(
      v.array(
        v.object({
          top: v.array(v.object({ ...tokenText, probability: v.number() })),
          next: v.optional(v.number()),
        }),
      ),
    ),
  }),
  v.metadata({ ref: "Lens" }),
);

export const explainRequest = v.pipe(
  v.strictObject({
    model,
    input,
    position: optional(count(0)),
    target: optional(token),
    top: v.nullish(count(0, LIMITS.listed), 10),
    ...changes,
  }),
  v.metadata({ ref: "ExplainRequest" }),
);
const weighted = v.array(v.object({ ...tokenText, weight: v.number() }));
export const explanation = v.pipe(
  v.object({
    position: v.number(),
    target: v.object(tokenText),
    logit: v.number(),
    logprob: v.number(),
    sum: v.number(),
    magnitude: v.number(),
    unit: v.picklist(["signal", "dimension"]),
    signals: v.array(
      v.object({
        signal: v.number(),
        recipe: v.number(),
        value: v.number(),
        contribution: v.number(),
        writers: v.array(v.number()),
        codebook: v.object({ most: weighted, least: weighted }),
      }),
    ),
    rest: v.object({ count: v.number(), contribution: v.number() }),
    writers: v.array(v.object({ name: v.string(), contribution: v.number() })),
  }),
  v.metadata({ ref: "Explanation" }),
);

/** The request format of llama.cpp's server. */
export const tokenizeRequest = v.pipe(
  v.strictObject({
    content: text,
    with_pieces: optional(flag),
    /** Accepted for compatibility. No special tokens are added, and text is never parsed for them. */
    add_special: optional(flag),
    parse_special: optional(
      v.literal(false, `${UNSUPPORTED} (only false is accepted); pass special tokens as ids`),
    ),
  }),
  v.metadata({ ref: "TokenizeRequest" }),
);
export const tokenized = v.object({
  tokens: v.array(
    v.union([v.number(), v.object({ id: v.number(), piece: v.union([v.string(), v.array(v.number())]) })]),
  ),
});
export const detokenizeRequest = v.pipe(
  v.strictObject({ tokens: v.array(count(0), "a list of token ids") }),
  v.metadata({ ref: "DetokenizeRequest" }),
);
export const detokenized = v.object({ content: v.string() });
