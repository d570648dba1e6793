/** What there is: the OpenAPI document, made from the routes themselves, and a page of it. */
import { Hono } from "hono";
import { generateSpecs } from "hono-openapi";
import * as v from "valibot";
import type { AppEnv, Services } from "../services.ts";
import { referencePage } from "./reference-page.ts";
import { describe } from "./validate.ts";

const tag = "Documents";

export type Document = Awaited<ReturnType<typeof generateSpecs>>;

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
    return made;
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
