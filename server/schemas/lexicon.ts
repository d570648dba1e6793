import * as v from "valibot";
import { LEXICON_SPACES } from "../../runtime/signals/lexicon.ts";
import {
  patch as anyPatch,
  count,
  countParameter,
  LIMITS,
  nonEmptyText,
  optional,
  tokenText,
} from "./fields.ts";

const SPACES = LEXICON_SPACES.join(" or ");
const space = v.optional(v.picklist(LEXICON_SPACES, SPACES), "recipe");
const k = countParameter(1, LIMITS.listed, 10);
const neighbour = v.object({ ...tokenText, cosine: v.number() });
const weight = { weight: v.number() };

/** The forms of a patch that fit a URL: a name, or statements. */
const patch = v.optional(nonEmptyText);

export const tokensQuery = v.strictObject({
  /** Whether the path holds text or a token id. */
  by: v.optional(v.picklist(["text", "id"], "text or id"), "text"),
  k,
  /** Number of signals listed. */
  top: countParameter(1, LIMITS.listed, 10),
  patch,
});
export const tokens = v.pipe(
  v.object({
    text: v.string(),
    tokens: v.array(
      v.object({
        ...tokenText,
        length: v.number(),
        recipe: v.array(v.object({ signal: v.number(), ...weight })),
        neighbours: v.array(neighbour),
      }),
    ),
  }),
  v.metadata({ ref: "Tokens" }),
);

export const signalQuery = v.strictObject({ k: countParameter(1, LIMITS.listed, 20), patch });
const codebook = v.array(v.object({ ...tokenText, ...weight }));
export const signal = v.pipe(
  v.object({
    signal: v.number(),
    unit: v.picklist(["signal", "dimension"]),
    used: v.number(),
    written: v.optional(v.number()),
    most: codebook,
    least: codebook,
  }),
  v.metadata({ ref: "Signal" }),
);

export const neighboursQuery = v.strictObject({ token: nonEmptyText, space, k, patch });
export const neighbours = v.object({
  token: v.object(tokenText),
  space: v.string(),
  neighbours: v.array(neighbour),
});

export const algebraRequest = v.pipe(
  v.strictObject({
    expression: nonEmptyText,
    space: v.nullish(v.picklist(LEXICON_SPACES, SPACES), "recipe"),
    k: v.nullish(count(1, LIMITS.listed), 10),
    patch: optional(anyPatch),
  }),
  v.metadata({ ref: "AlgebraRequest" }),
);
export const algebra = v.pipe(
  v.object({
    terms: v.array(v.object({ ...tokenText, coefficient: v.number() })),
    nearest: v.array(neighbour),
  }),
  v.metadata({ ref: "Algebra" }),
);

export const mapQuery = v.strictObject({ n: countParameter(3, 2000, 500), patch });
export const map = v.pipe(
  v.object({
    points: v.array(v.object({ ...tokenText, x: v.number(), y: v.number() })),
    shares: v.array(v.number()),
  }),
  v.metadata({ ref: "Map" }),
);
