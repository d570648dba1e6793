/** Named gene patches, and what else they do. */
import { Hono } from "hono";
import { blastRadius as compare } from "../../runtime/analysis/blast-radius.ts";
import { Refusal } from "../middleware/errors.ts";
import type { KeptPatch } from "../patches/store.ts";
import {
  blastRadius,
  blastRadiusRequest,
  deleted,
  namedPatch,
  patchList,
  patchRequest,
  previewRequest,
} from "../schemas/patches.ts";
import type { AppEnv, Tools } from "../services.ts";
import { keptPatch, patchOf, referenceOf, withExpression } from "./requests.ts";
import { departureOf } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Gene patches";

export function patchRoutes(tools: Tools) {
  const { model, patches, gate } = tools;

  const named = (name: string, { expression, patch }: KeptPatch) => ({ name, expression, ...patch });
  const radiusOf = async (
    patch: Parameters<typeof patchOf>[1],
    text: string | undefined,
    signal: AbortSignal,
  ) => {
    const [edit, ids] = [await patchOf(tools, patch, signal), referenceOf(tools, text)];
    return gate.run(() => compare(model, edit, { text: ids?.length ? ids : undefined, signal }), signal);
  };

  return new Hono<AppEnv>()
    .get("/v1/patches", describe("The names of all patches", { tag, answer: patchList }), async (c) =>
      c.json({ object: "list" as const, data: (await patches.list()).map((name) => ({ name })) }),
    )
    .post(
      "/v1/patches",
      describe("Keep a patch under a name", {
        tag,
        description: "It takes the place of one that has the name. It must be one for this model.",
        answer: namedPatch,
      }),
      body(patchRequest),
      async (c) => {
        const { name, patch } = c.req.valid("json");
        const { signal } = departureOf(c);
        const kept = await withExpression(tools, patch, signal);
        // What the model refuses is not worth keeping.
        await gate.run(() => model.tables({ patch: kept.patch }), signal);
        await patches.put(name, kept);
        return c.json(named(name, kept));
      },
    )
    .get("/v1/patches/:name", describe("A patch", { tag, answer: namedPatch }), async (c) => {
      const name = c.req.param("name");
      return c.json(named(name, await keptPatch(tools, name)));
    })
    .delete("/v1/patches/:name", describe("Forget a patch", { tag, answer: deleted }), async (c) => {
      const name = c.req.param("name");
      if (await patches.delete(name)) return c.json({ name, deleted: true as const });
      throw new Refusal(
        404,
        "patch_not_found",
        `there is no patch ${JSON.stringify(name)}`,
        "GET /v1/patches lists them",
      );
    })
    .post(
      "/v1/patches/:name/blast-radius",
      describe("What else a patch does: to neighbours, and to predictions", { tag, answer: blastRadius }),
      body(blastRadiusRequest),
      async (c) => {
        const { patch } = await keptPatch(tools, c.req.param("name"));
        return c.json(await radiusOf(patch, c.req.valid("json").text, departureOf(c).signal));
      },
    )
    .post(
      "/v1/blast-radius",
      describe("The same of a patch that isn't kept", { tag, answer: blastRadius }),
      body(previewRequest),
      async (c) => {
        const { patch, text } = c.req.valid("json");
        return c.json(await radiusOf(patch, text, departureOf(c).signal));
      },
    );
}
