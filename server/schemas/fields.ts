/** Fields that requests share. A schema's message names the expected value: see `routes/validate.ts`. */
import * as v from "valibot";
import { interventionsSchema } from "../../runtime/interventions/spec.ts";
import { patchSchema } from "../../runtime/patches/patch.ts";

/** Limits on requests, in addition to the model's own. */
export const LIMITS = {
  prompts: 32,
  choices: 16,
  /** Prompts times choices per prompt. */
  sequences: 64,
  logprobs: 20,
  stops: 16,
  /** Entries of a list of tokens, words or signals. */
  listed: 100,
  interventions: 64,
} as const;

/** Prefix of the message for a parameter that is accepted only with a value that has no effect. */
export const UNSUPPORTED = "is not supported";

/** A field that may be left out, or null, as OpenAI clients send it. */
export const optional = <T extends v.GenericSchema>(schema: T) =>
  v.pipe(
    v.nullish(schema),
    v.transform((x) => x ?? undefined),
  );

export const count = (least: number, most?: number) => {
  const expected =
    most === undefined ? `a whole number of at least ${least}` : `a whole number from ${least} to ${most}`;
  return v.pipe(
    v.number(expected),
    v.safeInteger(expected),
    v.minValue(least, expected),
    v.maxValue(most ?? Number.MAX_SAFE_INTEGER, expected),
  );
};

export const between = (least: number, most: number, expected = `a number from ${least} to ${most}`) =>
  v.pipe(v.number(expected), v.finite(expected), v.minValue(least, expected), v.maxValue(most, expected));

export const text = v.string("text");
export const nonEmptyText = v.pipe(text, v.nonEmpty("non-empty text"));
export const flag = v.boolean("true or false");
const ids = v.pipe(v.array(count(0), "a list of token ids"), v.nonEmpty("a list of token ids"));

/** Text, or its token ids. */
export const prompt = v.union([text, ids], "text, or a list of token ids");
const PROMPTS = `text, a list of token ids, or a list of 1 to ${LIMITS.prompts} of either`;
export const prompts = v.union(
  [
    text,
    ids,
    v.pipe(v.array(text), v.nonEmpty(), v.maxLength(LIMITS.prompts, PROMPTS)),
    v.pipe(v.array(ids), v.nonEmpty(), v.maxLength(LIMITS.prompts, PROMPTS)),
  ],
  PROMPTS,
);

export const model = optional(v.string("the model's name"));

/** A token: its id, or its text including a leading space. */
export const token = v.union([count(0), nonEmptyText], "a token id, or the text of one token");

export const interventions = v.pipe(
  interventionsSchema,
  v.maxLength(LIMITS.interventions, `at most ${LIMITS.interventions} interventions`),
  v.metadata({ ref: "Interventions" }),
);
const genePatch = v.pipe(patchSchema, v.metadata({ ref: "GenePatch" }));

/** The name of a saved patch, a patch in full, or statements such as `"terrible" += 0.6 * ("great" - "terrible")`, which may be wrapped in `{expression}`. */
export const patch = v.union(
  [nonEmptyText, v.strictObject({ expression: nonEmptyText }), genePatch],
  "the name of a saved patch, statements, {expression}, or a gene patch {model, edits}",
);
export const inlinePatch = genePatch;

/** Changes to the model for the duration of one request. */
export const changes = {
  interventions: optional(interventions),
  patch: optional(patch),
  /** Text that standard deviations, means and samples are taken from. Default: the server's held-out text. */
  reference: optional(nonEmptyText),
};

const STOPS = `a non-empty text, or a list of at most ${LIMITS.stops} non-empty texts`;

/** Sampling parameters. */
export const sampling = {
  temperature: optional(between(0, 100)),
  top_p: optional(between(0, 1)),
  top_k: optional(count(0)),
  min_p: optional(between(0, 1)),
  repetition_penalty: optional(between(0.01, 100)),
  seed: optional(v.pipe(v.number("an integer"), v.safeInteger("an integer"))),
  stop: optional(
    v.union([nonEmptyText, v.pipe(v.array(nonEmptyText), v.maxLength(LIMITS.stops, STOPS))], STOPS),
  ),
};

/** A whole number in a query parameter, which arrives as text. */
export const countParameter = (least: number, most: number, value: number) =>
  v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,9}$/, `a whole number from ${least} to ${most}`),
      v.transform(Number),
      count(least, most),
    ),
    String(value),
  );

// ---- responses ----------------------------------------------------------------------------------------------

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
