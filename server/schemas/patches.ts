import * as v from "valibot";
import { inlinePatch, nonEmptyText, optional, patch, text, tokenText } from "./fields.ts";

export const patchRequest = v.pipe(
  v.strictObject({ name: nonEmptyText, patch }),
  v.metadata({ ref: "PatchRequest" }),
);
export const namedPatch = v.pipe(
  v.object({
    name: v.string(),
    /** The statements that the patch was made from, unless it was given as edits. */
    expression: v.optional(v.string()),
    ...inlinePatch.entries,
  }),
  v.metadata({ ref: "NamedPatch" }),
);
export const patchList = v.object({
  object: v.literal("list"),
  data: v.array(v.object({ name: v.string() })),
});
export const deleted = v.object({ name: v.string(), deleted: v.literal(true) });

export const blastRadiusRequest = v.pipe(
  v.strictObject({
    /** Text on which predictions are compared. Default: the server's held-out text. */
    text: optional(text),
  }),
  v.metadata({ ref: "BlastRadiusRequest" }),
);
export const previewRequest = v.pipe(
  v.strictObject({ patch, text: optional(text) }),
  v.metadata({ ref: "PreviewRequest" }),
);
const token = v.object(tokenText);
const near = v.array(v.object({ ...tokenText, cosine: v.number() }));
export const blastRadius = v.pipe(
  v.object({
    bytes: v.number(),
    edits: v.number(),
    edited: v.object({
      count: v.number(),
      most: v.array(v.object({ ...tokenText, before: near, after: near })),
    }),
    neighbours: v.object({
      top: v.number(),
      of: v.number(),
      moved: v.number(),
      most: v.array(v.object({ ...tokenText, gained: v.array(token), lost: v.array(token) })),
    }),
    divergence: v.optional(
      v.object({
        positions: v.number(),
        mean: v.number(),
        worst: v.array(v.object({ position: v.number(), kl: v.number() })),
      }),
    ),
    analogies: v.optional(
      v.object({
        asked: v.number(),
        right: v.object({ before: v.number(), after: v.number() }),
        changed: v.array(v.object({ question: v.array(token), before: token, after: token })),
      }),
    ),
  }),
  v.metadata({ ref: "BlastRadius" }),
);
