import * as v from "valibot";
import { count, flag, nonEmptyText, optional } from "./fields.ts";

export const probeRequest = v.pipe(
  v.strictObject({
    seed: v.nullish(count(0), 1),
    /** Uses fewer prompts, positions and words. */
    quick: v.nullish(flag, true),
    /** Held-out text. Default: the server's. */
    text: optional(nonEmptyText),
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
        /** Holm-corrected over all claims. */
        pHolm: number,
        holds: v.boolean(),
      }),
    ),
    /** Figures as data; the other fields depend on the type. */
    figures: v.array(v.looseObject({ type: v.string(), title: v.string() })),
    notes: v.array(v.string()),
  }),
  v.metadata({ ref: "ProbeResult" }),
);
