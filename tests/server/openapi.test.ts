/** The OpenAPI document agrees with the routes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import createClient from "openapi-fetch";
import type { OpenAPIV3_1 } from "openapi-types";
import type { Model } from "../../runtime/model/model.ts";
import { type AppType, createApp } from "../../server/app.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

let model: Model;
let app: AppType;
let document: OpenAPIV3_1.Document;

beforeAll(async () => {
  model = await tinyModel();
  app = createApp(servicesOf(model));
  document = (await (await app.request("/openapi.json")).json()) as OpenAPIV3_1.Document;
});
afterAll(() => model.dispose());

const operations = () =>
  Object.entries(document.paths!).flatMap(([path, item]) =>
    Object.entries(item!).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      operation: operation as OpenAPIV3_1.OperationObject,
    })),
  );

test("every route is in the document, and nothing else is", () => {
  const routes = app.routes
    .filter(({ method, path }) => method !== "ALL" && !path.includes("*"))
    .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`);
  expect(
    operations()
      .map(({ route }) => route)
      .sort(),
  ).toEqual([...new Set(routes)].sort());
});

test("every operation describes its request, response and errors", () => {
  for (const { route, operation } of operations()) {
    const { summary, tags, responses = {}, requestBody } = operation;
    expect([route, Boolean(summary), tags?.length]).toEqual([route, true, 1]);
    expect(Object.keys(responses)).toEqual(expect.arrayContaining(["200", "400", "401", "429", "500"]));
    const hasBodyErrors = ["404", "408", "413", "415", "422"].every((status) => status in responses);
    expect([route, hasBodyErrors]).toEqual([route, requestBody !== undefined]);
    expect([route, "503" in responses]).toEqual([route, route !== "GET /livez"]);
    const { content } = responses["200"] as OpenAPIV3_1.ResponseObject;
    for (const { schema } of Object.values(content!))
      expect([route, schema]).toEqual([route, expect.anything()]);
    expect([route, requestBody !== undefined]).toEqual([route, route.startsWith("POST")]);
  }
});

test("it is valid OpenAPI 3.1", async () => {
  const config = await createConfig({
    rules: {
      struct: "error",
      "no-unresolved-refs": "error",
      "operation-operationId-unique": "error",
      "path-parameters-defined": "error",
      "no-ambiguous-paths": "error",
      "no-schema-type-mismatch": "error",
    },
  });
  const problems = await lintFromString({ source: JSON.stringify(document), config });
  expect(problems.map(({ message, location }) => `${location[0].pointer}: ${message}`)).toEqual([]);
});

test("a client that follows the document gets the described responses", async () => {
  const client = createClient<Record<string, Record<string, never>>>({
    baseUrl: "http://reflow.test",
    fetch: async (request) => app.fetch(request),
  }) as unknown as {
    GET(path: string, options: object): Promise<{ data?: { tokens: { text: string }[] } }>;
    POST(path: string, options: object): Promise<{ data?: object; error?: { error: { param: string } } }>;
  };
  const found = await client.GET("/v1/tokens/{text}", {
    params: { path: { text: " of" }, query: { k: "2" } },
  });
  expect(found.data?.tokens[0].text).toBe(" of");
  const made = await client.POST("/v1/completions", { body: { prompt: "the", max_tokens: 2 } });
  expect(made.data).toMatchObject({ object: "text_completion" });
  const refused = await client.POST("/v1/completions", { body: { prompt: "the", max_tokens: 0 } });
  expect(refused.error?.error.param).toBe("max_tokens");
});
