/** What requests have in common. A message says what was expected: see `routes/validate.ts`. */
import * as v from "valibot";
import { interventionsSchema } from "../../runtime/interventions/spec.ts";
import { patchSchema } from "../../runtime/patches/patch.ts";

/** Bounds, beside the model's own. */
export const MOST = {
  prompts: 32,
  choices: 16,
  /** Prompts times choices. */
  sequences: 64,
  logprobs: 20,
  stops: 16,
  /** Tokens, words or signals of a list. */
  listed: 100,
  interventions: 64,
} as const;

/** A field that may be left out, or null as OpenAI's clients send it. */
export const maybe = <T extends v.GenericSchema>(schema: T) =>
  v.pipe(
    v.nullish(schema),
    v.transform((x) => x ?? undefined),
  );

export const count = (least: number, most?: number) => {
  const expected =
    most === undefined ? `a whole number from ${least} on` : `a whole number from ${least} to ${most}`;
  return v.pipe(
    v.number(expected),
    v.safeInteger(expected),
    v.minValue(least, expected),
    v.maxValue(most ?? Number.MAX_SAFE_INTEGER, expected),
  );
};

export const between = (least: number, most: number) => {
  const expected = `a number from ${least} to ${most}`;
  return v.pipe(
    v.number(expected),
    v.finite(expected),
    v.minValue(least, expected),
    v.maxValue(most, expected),
  );
};

export const text = v.string("text");
export const someText = v.pipe(text, v.nonEmpty("text that is not empty"));
export const flag = v.boolean("true or false");
const ids = v.pipe(v.array(count(0), "a list of token ids"), v.nonEmpty("a list of token ids"));

/** Text, or its ids. */
export const prompt = v.union([text, ids], "text, or a list of token ids");
const PROMPTS = `text, a list of token ids, or a list of 1 to ${MOST.prompts} of either`;
export const prompts = v.union(
  [
    text,
    ids,
    v.pipe(v.array(text), v.nonEmpty(), v.maxLength(MOST.prompts, PROMPTS)),
    v.pipe(v.array(ids), v.nonEmpty(), v.maxLength(MOST.prompts, PROMPTS)),
  ],
  PROMPTS,
);

export const model = maybe(v.string("the model's name"));

/** A token: its id, or its own text, with its leading space. */
export const token = v.union([count(0), someText], "a token's id, or its own text");

export const interventions = v.pipe(
  interventionsSchema,
  v.maxLength(MOST.interventions, `${MOST.interventions} interventions at most`),
  v.metadata({ ref: "Interventions" }),
);
const genePatch = v.pipe(patchSchema, v.metadata({ ref: "GenePatch" }));

/** A named patch, one in full, or statements such as `"terrible" += 0.6 * ("great" - "terrible")`, with or without `{expression}`. */
export const patch = v.union(
  [someText, v.strictObject({ expression: someText }), genePatch],
  "a patch's name, statements, {expression}, or a gene patch {model, edits}",
);
export const inlinePatch = genePatch;

/** What is done to the model, in this request alone. */
export const changes = {
  interventions: maybe(interventions),
  patch: maybe(patch),
  /** Text that standard deviations, means and samples are taken from; the server's own where it isn't said. */
  reference: maybe(someText),
};

const STOPS = `text, or up to ${MOST.stops} texts, none empty`;

/** How tokens are chosen. */
export const sampling = {
  temperature: maybe(between(0, 100)),
  top_p: maybe(between(0, 1)),
  top_k: maybe(count(0)),
  min_p: maybe(between(0, 1)),
  repetition_penalty: maybe(between(0.01, 100)),
  seed: maybe(v.pipe(v.number("an integer"), v.safeInteger("an integer"))),
  stop: maybe(v.union([someText, v.pipe(v.array(someText), v.maxLength(MOST.stops, STOPS))], STOPS)),
};

/** Query parameters are text. */
export const countOf = (least: number, most: number, value: number) =>
  v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,9}$/, `a whole number from ${least} to ${most}`),
      v.transform(Number),
      count(least, most),
    ),
    String(value),
  );

// ---- answers ----------------------------------------------------------------------------------------------

export const tokenText = { id: v.number(), text: v.string() };
export const usage = v.object({
  prompt_tokens: v.number(),
  completion_tokens: v.number(),
  total_tokens: v.number(),
});

export const failure = v.pipe(
  v.object({
    error: v.object({
      message: v.string(),
      type: v.string(),
      param: v.nullable(v.string()),
      code: v.nullable(v.string()),
      help: v.optional(v.string()),
      id: v.optional(v.string()),
    }),
  }),
  v.metadata({ ref: "Failure" }),
);
