import * as v from "valibot";
import { count, flag, maybe, someText } from "./fields.ts";

export const probeRequest = v.pipe(
  v.strictObject({
    seed: v.nullish(count(0), 1),
    /** Fewer prompts, positions and words. */
    quick: v.nullish(flag, true),
    /** Held-out text; the server's own where it isn't said. */
    text: maybe(someText),
    stream: v.nullish(flag, true),
  }),
  v.metadata({ ref: "ProbeRequest" }),
);

export const probeList = v.object({
  object: v.literal("list"),
  data: v.array(v.object({ id: v.string(), question: v.string() })),
});

const number = v.number();
export const probeResult = v.pipe(
  v.object({
    id: v.string(),
    question: v.string(),
    inapplicable: v.optional(v.string()),
    checkpoint: v.string(),
    seed: number,
    parameters: v.record(v.string(), v.union([number, v.string(), v.boolean()])),
    claims: v.array(
      v.object({
        id: v.string(),
        kind: v.string(),
        statement: v.string(),
        effect: number,
        interval: v.optional(v.array(number)),
        null: v.object({ name: v.string(), mean: number, sd: number, draws: number }),
        p: number,
        /** Corrected for the family of all claims. */
        pHolm: number,
        holds: v.boolean(),
      }),
    ),
    /** Data, not pixels, by their type. */
    figures: v.array(v.looseObject({ type: v.string(), title: v.string() })),
    notes: v.array(v.string()),
  }),
  v.metadata({ ref: "ProbeResult" }),
);
