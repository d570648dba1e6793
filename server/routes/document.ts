/** What there is: the OpenAPI document, made from the routes themselves, and a page of it. */
import { Hono } from "hono";
import { generateSpecs } from "hono-openapi";
import * as v from "valibot";
import type { AppEnv, Services } from "../services.ts";
import { referencePage } from "./reference-page.ts";
import { describe } from "./validate.ts";

const tag = "Documents";

export type Document = Awaited<ReturnType<typeof generateSpecs>>;

type Operation = { requestBody?: unknown; security?: unknown[]; responses: Record<string, object> };

/** What all requests of a kind may be answered with, beside what routes say of themselves. */
function withFailures(document: Document): Document {
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const operation of Object.values(item ?? {}) as unknown as Operation[]) {
      const also = (status: number, description: string) => {
        operation.responses[status] ??= { ...operation.responses[500], description };
      };
      const isHealth = /^\/(livez|readyz)$/.test(path);
      if (isHealth) operation.security = [];
      if (path !== "/livez") also(503, "The server is about to end, or out of memory");
      if (operation.requestBody || path.includes("{")) also(404, "What is named isn't there");
      if (!operation.requestBody) continue;
      also(408, "The body wasn't there in time");
      also(413, "The body is too large");
      also(415, "The body is of another type than JSON or MessagePack, or encoded");
      also(422, "The model's numbers are not finite");
    }
  }
  return document;
}

/** @param app all of the app, to which these routes are added */
export function documentRoutes(app: Hono<AppEnv>, { keys }: Services) {
  let made: Promise<Document> | undefined;
  const document = () => {
    made ??= generateSpecs(app, {
      // Its own path has a dot.
      excludeStaticFile: false,
      defaultValidationErrorResponse: false,
      documentation: {
        info: {
          title: "reFlow",
          version: "1",
          description:
            "Language models whose embedding is factored into recipes and signals: continued, steered and taken apart. Requests " +
            "and answers are JSON, or MessagePack where Content-Type and Accept say so. Log-probabilities are in nats.",
        },
        ...(keys.length > 0 && {
          components: { securitySchemes: { key: { type: "http" as const, scheme: "bearer" } } },
          security: [{ key: [] }],
        }),
      },
    });
    return made.then(withFailures);
  };
  return new Hono<AppEnv>()
    .get(
      "/openapi.json",
      describe("This document", { tag, answer: v.record(v.string(), v.unknown()) }),
      async (c) => c.json(await document()),
    )
    .get("/docs", describe("A page of it", { tag, answer: "text/html" }), async (c) =>
      c.html(referencePage(await document())),
    );
}
