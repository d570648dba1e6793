import * as v from "valibot";
import { changes, count, flag, MOST, maybe, model, prompt, text, token, tokenText } from "./fields.ts";

const NAME = "a hook point's name, of 200 characters at most";
const hookName = v.pipe(v.string(NAME), v.nonEmpty(NAME), v.maxLength(200, NAME));

/** Text or ids that are looked at, once through. */
const input = prompt;

export const activationsRequest = v.pipe(
  v.strictObject({
    model,
    input,
    /** Hook points, with `*` for any part of a name: `blocks.*.hook_resid_post`. */
    names: v.union(
      [
        hookName,
        v.pipe(
          v.array(hookName),
          v.nonEmpty("a name, or several"),
          v.maxLength(MOST.listed, `${MOST.listed} names at most`),
        ),
      ],
      "a hook point's name, or a list of them",
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
    top: v.nullish(count(1, MOST.logprobs), 5),
    positions: maybe(v.pipe(v.array(count(0), "a list of positions"), v.nonEmpty("a list of positions"))),
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
    position: maybe(count(0)),
    target: maybe(token),
    top: v.nullish(count(0, MOST.listed), 10),
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

/** llama.cpp's. */
export const tokenizeRequest = v.pipe(
  v.strictObject({
    content: text,
    with_pieces: maybe(flag),
    /** There is nothing to add, and text is only text. */
    add_special: maybe(flag),
    parse_special: maybe(v.literal(false, "false: special tokens are given as ids")),
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
