/** Renders the OpenAPI document as a self-contained HTML page without scripts or external resources. */

import { html, raw } from "hono/html";
import type { generateSpecs } from "hono-openapi";
import type { OpenAPIV3_1 } from "openapi-types";
import { groupBy } from "../../runtime/common/compatibility.ts";

export type Document = Awaited<ReturnType<typeof generateSpecs>>;

type Schema = OpenAPIV3_1.SchemaObject | OpenAPIV3_1.ReferenceObject;
interface Operation extends OpenAPIV3_1.OperationObject {
  method: string;
  path: string;
}

const STYLE = `
  :root { color-scheme: light dark; --line: light-dark(#ddd, #444); --soft: light-dark(#666, #aaa); }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } p { margin: .5rem 0; }
  code, pre { font: .875em ui-monospace, monospace; overflow-wrap: anywhere; }
  pre { white-space: pre-wrap; background: light-dark(#f6f6f6, #222); padding: .75rem; border-radius: 6px; margin: .5rem 0; }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .75rem; }
  summary { cursor: pointer; } summary b { font: 600 .875em ui-monospace, monospace; } .soft { color: var(--soft); }
`;

export function openapiPage({ info, paths, components }: Document) {
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item ?? {}).map(([method, operation]) => ({
      ...(operation as OpenAPIV3_1.OperationObject),
      method: method.toUpperCase(),
      path,
    })),
  );
  const byTag = groupBy(operations, ({ tags }) => tags?.[0] ?? "");
  const schemas = Object.entries(components?.schemas ?? {});
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title}: API reference</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<h1>${info.title}</h1>
<p>${info.description}</p>
<p><a href="/openapi.json">openapi.json</a> (OpenAPI 3.1)</p>
${[...byTag].map(([tag, some]) => html`<h2>${tag}</h2>${some.map(section)}`)}
<h2>Schemas</h2>
${schemas.map(([name, schema]) => html`<details id="${name}"><summary><b>${name}</b></summary><pre>${typeText(schema as Schema)}</pre></details>`)}
</body>
</html>`;
}

function section({ method, path, summary, description, parameters = [], requestBody, responses }: Operation) {
  const asked = requestBody && "content" in requestBody ? requestBody.content : undefined;
  const answer = responses?.["200"];
  const content = answer && "content" in answer ? Object.entries(answer.content ?? {}) : [];
  return html`<details>
<summary><b>${method} ${path}</b> <span class="soft">${summary}</span></summary>
${description ? html`<p>${description}</p>` : ""}
${(parameters as OpenAPIV3_1.ParameterObject[]).map(
  ({ name, in: where, schema }) =>
    html`<p><code>${name}</code> <span class="soft">in the ${where}:</span> <code>${typeText(schema as Schema)}</code></p>`,
)}
${asked?.["application/json"] ? html`<p>Request body</p>${shown(asked["application/json"].schema)}` : ""}
${content
  .filter(([type]) => type !== "application/msgpack")
  .map(([type, { schema }]) => html`<p>Response <code>${type}</code></p>${shown(schema)}`)}
</details>`;
}

/** A link to a named schema, the description of a stream's events, or the schema itself. */
function shown(schema: Schema | undefined) {
  if (schema && "$ref" in schema)
    return html`<p><a href="#${nameOf(schema)}"><code>${nameOf(schema)}</code></a></p>`;
  return html`<pre>${schema?.description ?? typeText(schema)}</pre>`;
}

const nameOf = ({ $ref }: OpenAPIV3_1.ReferenceObject): string => $ref.split("/").at(-1)!;

/** A schema in TypeScript notation. */
function typeText(schema: Schema | undefined, indent = ""): string {
  if (!schema) return "unknown";
  if ("$ref" in schema) return nameOf(schema);
  const {
    type,
    properties,
    enum: values,
    const: constant,
    anyOf,
    oneOf,
  } = schema as OpenAPIV3_1.SchemaObject & { const?: unknown };
  if (constant !== undefined) return JSON.stringify(constant);
  if (values) return values.map((value) => JSON.stringify(value)).join(" | ");
  const either = anyOf ?? oneOf;
  if (either) return either.map((each) => typeText(each, indent)).join(" | ");
  if (schema.type === "array") return `(${typeText(schema.items, indent)})[]`;
  if (properties) {
    const inner = `${indent}  `;
    const fields = Object.entries(properties).map(([name, field]) => {
      const needed = schema.required?.includes(name) && !("default" in field);
      const preset =
        "default" in field && field.default !== undefined ? ` = ${JSON.stringify(field.default)}` : "";
      return `${inner}${name}${needed ? "" : "?"}: ${typeText(field, inner)}${preset}\n`;
    });
    return `{\n${fields.join("")}${indent}}`;
  }
  return [type ?? "unknown"].flat().join(" | ");
}
