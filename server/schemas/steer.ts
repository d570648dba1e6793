import * as v from "valibot";
import {
  changes,
  count,
  flag,
  LIMITS,
  model,
  optional,
  prompt,
  sampling,
  token,
  tokenText,
} from "./fields.ts";

export const steerRequest = v.pipe(
  v.strictObject({
    model,
    prompt,
    max_tokens: v.nullish(count(1), 32),
    /** Number of most likely tokens listed for each token. */
    logprobs: v.nullish(count(0, LIMITS.logprobs), 0),
    /** A token whose steered log-probability after the prompt is compared with that for random directions. */
    target: optional(token),
    stream: optional(flag),
    ...sampling,
    ...changes,
  }),
  v.metadata({ ref: "SteerRequest" }),
);
export type SteerRequest = v.InferOutput<typeof steerRequest>;

export const bandRequest = v.pipe(
  v.strictObject({ model, prompt, target: token, seed: optional(count(0)), ...changes }),
  v.metadata({ ref: "ChanceBandRequest" }),
);

export const band = v.pipe(
  v.object({
    target: v.object(tokenText),
    default: v.number(),
    steered: v.number(),
    change: v.number(),
    low: v.number(),
    high: v.number(),
    draws: v.array(v.number()),
  }),
  v.metadata({ ref: "ChanceBand" }),
);

const likely = v.object({ ...tokenText, logprob: v.number() });
const written = v.object({ ...tokenText, logprob: v.number(), top_logprobs: v.array(likely) });
const runName = v.picklist(["default", "steered"]);
const reason = v.picklist(["stop", "length"]);

/** An event of a steering stream. */
export const steerEvent = v.variant("type", [
  v.object({ type: v.literal("token"), run: runName, ...written.entries }),
  v.object({ type: v.literal("finish"), run: runName, text: v.string(), finish_reason: reason }),
  v.object({ type: v.literal("band"), ...band.entries }),
]);
export type SteerEvent = v.InferOutput<typeof steerEvent>;

const run = v.object({ text: v.string(), tokens: v.array(written), finish_reason: v.nullable(reason) });
export const steered = v.pipe(
  v.object({ model: v.string(), seed: v.number(), default: run, steered: run, band: v.nullable(band) }),
  v.metadata({ ref: "Steered" }),
);
export type Steered = v.InferOutput<typeof steered>;
