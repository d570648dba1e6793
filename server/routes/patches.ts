/** Named gene patches, and the comparison of a patched model with the original (blast radius). */
import { Hono } from "hono";
import { blastRadius as compare } from "../../runtime/analysis/blast-radius.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import type { SavedPatch } from "../patches/store.ts";
import {
  blastRadius,
  blastRadiusRequest,
  deleted,
  namedPatch,
  patchList,
  patchRequest,
  previewRequest,
} from "../schemas/patches.ts";
import { patchOf, referenceOf, resolvePatch, savedPatch } from "./request-options.ts";
import { watchDisconnect } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "Gene patches";

export function patchRoutes(services: RouteServices) {
  const { model, patches, analysisQueue } = services;

  const named = (name: string, { expression, patch }: SavedPatch) => ({ name, expression, ...patch });
  const radiusOf = async (
    patch: Parameters<typeof patchOf>[1],
    text: string | undefined,
    signal: AbortSignal,
  ) => {
    const [edit, ids] = [await patchOf(services, patch, signal), referenceOf(services, text)];
    return analysisQueue.run(() => compare(model, edit, { text: ids?.length ? ids : undefined, signal }), {
      signal,
    });
  };

  return new Hono<AppEnv>()
    .get("/v1/patches", describe("List saved patches", { tag, answer: patchList }), async (c) =>
      c.json({ object: "list" as const, data: (await patches.list()).map((name) => ({ name })) }),
    )
    .post(
      "/v1/patches",
      describe("Save a patch under a name", {
        tag,
        description: "Replaces a saved patch of the same name. The patch must be for this model.",
        answer: namedPatch,
      }),
      body(patchRequest),
      async (c) => {
        const { name, patch } = c.req.valid("json");
        const { signal } = watchDisconnect(c);
        const saved = await resolvePatch(services, patch, signal);
        // Applies the patch once, so that an invalid one is not saved.
        await analysisQueue.run(() => model.tables({ patch: saved.patch }), { signal });
        await patches.put(name, saved);
        return c.json(named(name, saved));
      },
    )
    .get("/v1/patches/:name", describe("Get a saved patch", { tag, answer: namedPatch }), async (c) => {
      const name = c.req.param("name");
      return c.json(named(name, await savedPatch(services, name)));
    })
    .delete("/v1/patches/:name", describe("Delete a saved patch", { tag, answer: deleted }), async (c) => {
      const name = c.req.param("name");
      if (await patches.delete(name)) return c.json({ name, deleted: true as const });
      throw new ApiError(
        404,
        "patch_not_found",
        `there is no patch ${JSON.stringify(name)}`,
        "GET /v1/patches lists them",
      );
    })
    .post(
      "/v1/patches/:name/blast-radius",
      describe("Measure the side effects of a saved patch on neighbours and predictions", {
        tag,
        answer: blastRadius,
      }),
      body(blastRadiusRequest),
      async (c) => {
        const { patch } = await savedPatch(services, c.req.param("name"));
        return c.json(await radiusOf(patch, c.req.valid("json").text, watchDisconnect(c).signal));
      },
    )
    .post(
      "/v1/blast-radius",
      describe("Measure the side effects of a patch that is not saved", { tag, answer: blastRadius }),
      body(previewRequest),
      async (c) => {
        const { patch, text } = c.req.valid("json");
        return c.json(await radiusOf(patch, text, watchDisconnect(c).signal));
      },
    );
}
