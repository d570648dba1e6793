/** The OpenAPI document, generated from the routes, and its HTML page. */
import { Hono } from "hono";
import { generateSpecs } from "hono-openapi";
import * as v from "valibot";
import type { AppEnv, Services } from "../context/services.ts";
import { type Document, openapiPage } from "./openapi-page.ts";
import { describe } from "./validate.ts";

const tag = "Documentation";

type Operation = { requestBody?: unknown; security?: unknown[]; responses: Record<string, object> };

/** Adds the error responses that all routes of a kind share. */
function withErrorResponses(document: Document): Document {
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const operation of Object.values(item ?? {}) as unknown as Operation[]) {
      const add = (status: number, description: string) => {
        operation.responses[status] ??= { ...operation.responses[500], description };
      };
      const isHealth = /^\/(livez|readyz)$/.test(path);
      if (isHealth) operation.security = [];
      if (path !== "/livez") add(503, "The server is shutting down, or out of memory");
      if (operation.requestBody || path.includes("{")) add(404, "The named resource does not exist");
      if (!operation.requestBody) continue;
      add(408, "The body did not arrive in time");
      add(413, "The body is too large");
      add(415, "The body is compressed, or is neither JSON nor MessagePack");
      add(422, "The computation produced values that are not finite");
    }
  }
  return document;
}

/** @param app the whole app, whose routes the document describes */
export function openapiRoutes(app: Hono<AppEnv>, { keys }: Services) {
  let generated: Promise<Document> | undefined;
  const document = () => {
    generated ??= generateSpecs(app, {
      // By default, paths with a dot such as /openapi.json are left out.
      excludeStaticFile: false,
      defaultValidationErrorResponse: false,
      documentation: {
        info: {
          title: "reFlow",
          version: "1",
          description:
            "Generation, steering and inspection of language models whose embedding is factored into recipes and signals. Requests " +
            "and responses are JSON, or MessagePack according to Content-Type and Accept. Log-probabilities are in nats.",
        },
        ...(keys.length > 0 && {
          components: { securitySchemes: { key: { type: "http" as const, scheme: "bearer" } } },
          security: [{ key: [] }],
        }),
      },
    });
    return generated.then(withErrorResponses);
  };
  return new Hono<AppEnv>()
    .get(
      "/openapi.json",
      describe("Get this document", { tag, answer: v.record(v.string(), v.unknown()) }),
      // The type of a document is too long for declaration files.
      async (c) => c.json((await document()) as object),
    )
    .get("/docs", describe("Get this document as an HTML page", { tag, answer: "text/html" }), async (c) =>
      c.html(openapiPage(await document())),
    );
}
