/** Tokens and signals: recipes, codebooks, nearest neighbours, token arithmetic, and the map. */
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Lexicon } from "../../runtime/signals/lexicon.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
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
import { patchOf } from "./request-options.ts";
import { watchDisconnect } from "./streams.ts";
import { body, describe, query } from "./validate.ts";

const tag = "Tokens and signals";

/** Maximum number of tokens in a path. */
const MAX_TOKENS = 16;
/** Maximum number of characters, checked before tokenizing; a longer text exceeds the token limit with any practical tokenizer. */
const MAX_CHARACTERS = 1000;

export function lexiconRoutes(services: RouteServices) {
  const { model, analysisQueue } = services;
  return new Hono<AppEnv>()
    .get(
      "/v1/tokens/:text{.+}",
      describe("Get the tokens of a text, with recipes and neighbours", {
        tag,
        description:
          'Include a word\'s leading space: "/v1/tokens/%20king". With `by=id`, the path holds a token id. `patch`, here and below, applies a gene patch first: the name of a saved patch, or statements.',
        answer: tokens,
      }),
      query(tokensQuery),
      async (c) => {
        const { signal } = watchDisconnect(c);
        const { by, k, top, patch } = c.req.valid("query");
        const text = c.req.param("text");
        const ids = by === "id" ? [idOf(text, "token")] : idsOf(text);
        const lexicon = await lexiconOf(patch, signal);
        const found = ids.map((id) => lexicon.token(id, { count: top }));
        const nearest = () => Promise.all(ids.map((id) => lexicon.neighbours(id, { count: k })));
        const near = await analysisQueue.run(nearest, { signal });
        return c.json({
          text: by === "id" ? found[0].text : text,
          tokens: found.map((token, i) => ({ ...token, neighbours: near[i] })),
        });
      },
    )
    .get(
      "/v1/signals/:id",
      describe("Get a signal's codebook: the tokens with the largest and the smallest weights", {
        tag,
        answer: signal,
      }),
      query(signalQuery),
      async (c) => {
        const id = idOf(c.req.param("id"), "signal");
        const { signal } = watchDisconnect(c);
        const { k, patch } = c.req.valid("query");
        return c.json((await lexiconOf(patch, signal)).signal(id, { count: k }));
      },
    )
    .get(
      "/v1/neighbours",
      describe("List a token's nearest neighbours by cosine", { tag, answer: neighbours }),
      query(neighboursQuery),
      async (c) => {
        const { signal } = watchDisconnect(c);
        const { token, space, k, patch } = c.req.valid("query");
        const lexicon = await lexiconOf(patch, signal);
        const id = lexicon.find(token);
        const near = await analysisQueue.run(() => lexicon.neighbours(id, { space, count: k }), { signal });
        return c.json({ token: { id, text: token }, space, neighbours: near });
      },
    )
    .post(
      "/v1/algebra",
      describe("List the tokens nearest to a sum of tokens", {
        tag,
        description: 'A word stands for its token with a leading space: {"expression": "king - man + woman"}',
        answer: algebra,
      }),
      body(algebraRequest),
      async (c) => {
        const { signal } = watchDisconnect(c);
        const { expression, space, k, patch } = c.req.valid("json");
        const lexicon = await lexiconOf(patch, signal);
        return c.json(
          await analysisQueue.run(() => lexicon.algebra(expression, { space, count: k }), { signal }),
        );
      },
    )
    .get(
      "/v1/map",
      describe(
        "Project frequent word-initial tokens onto the first two principal components of their recipes",
        {
          tag,
          answer: map,
        },
      ),
      query(mapQuery),
      async (c) => {
        const { signal } = watchDisconnect(c);
        const { n, patch } = c.req.valid("query");
        const lexicon = await lexiconOf(patch, signal);
        return c.json(await analysisQueue.run(() => lexicon.map({ count: n, signal }), { signal }));
      },
    );

  async function lexiconOf(
    patch: Parameters<typeof patchOf>[1] | undefined,
    signal: AbortSignal,
  ): Promise<Lexicon> {
    return services.lexicon(
      patch === undefined ? undefined : { patch: await patchOf(services, patch, signal), signal },
    );
  }

  function idsOf(text: string): number[] {
    const ids = text.length > MAX_CHARACTERS ? undefined : Array.from(model.tokenize(text));
    if (ids && ids.length <= MAX_TOKENS) return ids;
    const message = `the text has ${ids?.length ?? "too many"} tokens`;
    throw new ReflowError("usage", message, `use at most ${MAX_TOKENS} tokens`);
  }
}

function idOf(text: string, what: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new ReflowError(
    "usage",
    `${JSON.stringify(text.slice(0, 40))} is not a ${what} id`,
    "use a whole number of at least 0",
  );
}
