/** Tokens and signals: recipes, codebooks, neighbours, arithmetic and the map. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Lexicon } from "../../runtime/signals/lexicon.ts";
import {
  algebra,
  algebraRequest,
  map,
  mapQuery,
  neighbours,
  neighboursQuery,
  signal,
  signalQuery,
  tokens,
  tokensQuery,
} from "../schemas/lexicon.ts";
import type { AppEnv, Tools } from "../services.ts";
import { patchOf } from "./requests.ts";
import { departureOf } from "./streams.ts";
import { body, describe, query } from "./validate.ts";

const tag = "Lexicon";

/** Tokens of one text. */
const MOST_TOKENS = 16;
/** Characters of it: more are more tokens, whatever they are, of any tokenizer that is worth its name. */
const MOST_CHARACTERS = 1000;

export function lexiconRoutes(tools: Tools) {
  const { model, gate } = tools;
  return new Hono<AppEnv>()
    .get(
      "/v1/tokens/:text{.+}",
      describe("A text's tokens: their recipes and neighbours", {
        tag,
        description:
          'A word has its leading space: "/v1/tokens/%20king". With `by=id` the path holds a token\'s id. With `patch`, here and below, all is as a gene patch leaves it: one that is kept, by its name, or statements.',
        answer: tokens,
      }),
      query(tokensQuery),
      async (c) => {
        const { signal } = departureOf(c);
        const { by, k, top, patch } = c.req.valid("query");
        const text = c.req.param("text");
        const ids = by === "id" ? [idOf(text, "token")] : idsOf(text);
        const book = await bookOf(patch, signal);
        const found = ids.map((id) => book.token(id, { count: top }));
        const nearest = () => Promise.all(ids.map((id) => book.neighbours(id, { count: k })));
        const near = await gate.run(nearest, signal);
        return c.json({
          text: by === "id" ? found[0].text : text,
          tokens: found.map((token, i) => ({ ...token, neighbours: near[i] })),
        });
      },
    )
    .get(
      "/v1/signals/:id",
      describe("A signal's codebook: the tokens that have most of it, and least", { tag, answer: signal }),
      query(signalQuery),
      async (c) => {
        const id = idOf(c.req.param("id"), "signal");
        const { signal } = departureOf(c);
        const { k, patch } = c.req.valid("query");
        return c.json((await bookOf(patch, signal)).signal(id, { count: k }));
      },
    )
    .get(
      "/v1/neighbours",
      describe("The tokens nearest to one, by cosine", { tag, answer: neighbours }),
      query(neighboursQuery),
      async (c) => {
        const { signal } = departureOf(c);
        const { token, space, k, patch } = c.req.valid("query");
        const book = await bookOf(patch, signal);
        const id = book.find(token);
        const near = await gate.run(() => book.neighbours(id, { space, count: k }), signal);
        return c.json({ token: { id, text: token }, space, neighbours: near });
      },
    )
    .post(
      "/v1/algebra",
      describe("The tokens nearest to a sum of tokens", {
        tag,
        description: 'A word stands for its token with a leading space: {"expression": "king - man + woman"}',
        answer: algebra,
      }),
      body(algebraRequest),
      async (c) => {
        const { signal } = departureOf(c);
        const { expression, space, k, patch } = c.req.valid("json");
        const book = await bookOf(patch, signal);
        return c.json(await gate.run(() => book.algebra(expression, { space, count: k }), signal));
      },
    )
    .get(
      "/v1/map",
      describe("Frequent tokens that begin a word, on the plane in which their recipes differ most", {
        tag,
        answer: map,
      }),
      query(mapQuery),
      async (c) => {
        const { signal } = departureOf(c);
        const { n, patch } = c.req.valid("query");
        const book = await bookOf(patch, signal);
        return c.json(await gate.run(() => book.map({ count: n, signal }), signal));
      },
    );

  async function bookOf(
    patch: Parameters<typeof patchOf>[1] | undefined,
    signal: AbortSignal,
  ): Promise<Lexicon> {
    return tools.lexicon(
      patch === undefined ? undefined : { patch: await patchOf(tools, patch, signal), signal },
    );
  }

  function idsOf(text: string): number[] {
    const ids = text.length > MOST_CHARACTERS ? undefined : Array.from(model.tokenize(text));
    if (ids && ids.length <= MOST_TOKENS) return ids;
    const help = `ask for ${MOST_TOKENS} at most`;
    throw new ReflowError("usage", `the text is ${ids?.length ?? "too many"} tokens`, help);
  }
}

function idOf(text: string, what: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new ReflowError(
    "usage",
    `${JSON.stringify(text.slice(0, 40))} is no ${what}'s number`,
    "use a whole number from 0 on",
  );
}
