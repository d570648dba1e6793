/** Type-checks a client against types that are generated from the OpenAPI document. */
import { expect, mock, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript-5";
import { createApp } from "../../server/app.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

// The generator needs TypeScript's JavaScript API, which version 7 no longer has.
mock.module("typescript", () => ({ default: ts }));
const { default: openapiTS, astToString } = await import("openapi-typescript");

const CLIENT = `
import createClient from "openapi-fetch";
import type { paths } from "./schema.ts";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });
const { data, error } = await client.POST("/v1/completions", { body: { prompt: "Once", max_tokens: 2 } });
// For a stream it would be text.
export const text: string | undefined = typeof data === "object" ? data.choices[0].text : undefined;
export const message: string | undefined = error?.error.message;
const read = await client.GET("/v1/tokens/{text}", { params: { path: { text: " of" } } });
export const ids: number[] | undefined = read.data?.tokens.map(({ id }) => id);
// @ts-expect-error: a prompt is not a boolean
await client.POST("/v1/completions", { body: { prompt: true } });
// @ts-expect-error: there is no such route
await client.GET("/v1/nothing");
`;

test("a client generated from the document type-checks", async () => {
  using model = await tinyModel();
  const app = createApp(servicesOf(model));
  const document = await (await app.request("/openapi.json")).json();
  // Inside node_modules, so that its imports resolve.
  const folder = mkdtempSync(join(fileURLToPath(new URL("../../node_modules", import.meta.url)), ".client-"));
  try {
    writeFileSync(join(folder, "schema.ts"), astToString(await openapiTS(document)));
    writeFileSync(join(folder, "client.ts"), CLIENT);
    const program = ts.createProgram([join(folder, "client.ts")], {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      allowImportingTsExtensions: true,
      target: ts.ScriptTarget.ESNext,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      types: [],
    });
    const problems = ts.getPreEmitDiagnostics(program);
    expect(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
