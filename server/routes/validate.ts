/** Requests against their schemas, the errors in this project's words, and both in the OpenAPI document. */
import type { JsonSchema, OverrideSchemaContext } from "@valibot/to-json-schema";
import { closest, distance } from "fastest-levenshtein";
import type { MiddlewareHandler, ValidationTargets } from "hono";
import { createMiddleware } from "hono/factory";
import { type DescribeRouteOptions, describeRoute, resolver, uniqueSymbol } from "hono-openapi";
import * as v from "valibot";
import { parseInterventions } from "../../runtime/interventions/spec.ts";
import { displayValue } from "../../runtime/common/validation.ts";
import { Refusal } from "../middleware/errors.ts";
import { failure } from "../schemas/fields.ts";
import type { AppEnv } from "../services.ts";

type Schema = v.GenericSchema;
type Validated<Target extends keyof ValidationTargets, S extends Schema> = MiddlewareHandler<
  AppEnv,
  string,
  { in: { [K in Target]: v.InferInput<S> }; out: { [K in Target]: v.InferOutput<S> } }
>;

/** The decoded body, whatever it was encoded as. */
export const body = <S extends Schema>(schema: S): Validated<"json", S> => validated("json", schema);
/** The query string's parameters. */
export const query = <S extends Schema>(schema: S): Validated<"query", S> => validated("query", schema);

function validated<Target extends "json" | "query", S extends Schema>(
  target: Target,
  schema: S,
): Validated<Target, S> {
  const middleware = createMiddleware<AppEnv>(async (c, next) => {
    const input = target === "json" ? (c.var.body ?? {}) : c.req.query();
    const result = v.safeParse(schema, input, { abortEarly: true });
    if (!result.success) throw refusalOf(schema, result.issues, input);
    c.req.addValidatedData(target, result.output as object);
    await next();
  });
  return Object.assign(middleware, {
    [uniqueSymbol]: { target, ...documented(schema) },
  }) as unknown as Validated<Target, S>;
}

/** A schema for the document. */
const documented = (schema: Schema) => resolver(schema, { options: { overrideSchema } });

function overrideSchema({ valibotSchema, jsonSchema }: OverrideSchemaContext): JsonSchema | undefined {
  const { type } = valibotSchema;
  // Numbers that may come as a Float32Array: of these a schema of JSON's knows nothing.
  if (type === "custom" || type === "instance") return { type: "array", items: { type: "number" } };
  // Client generators take what has a default for required.
  const { default: value, ...rest } = jsonSchema;
  return value === undefined
    ? undefined
    : { ...rest, description: `${JSON.stringify(value)} where it isn't said` };
}

type Issue = v.BaseIssue<unknown>;

const isUnknownKey = ({ expected }: Issue): boolean => expected === "never";

/** Of a name's letters, so many may be wrong in what was meant to be it. */
const MISSPELT = 0.4;
/** Parts of a request, of which all that is wrong is looked for: there may be something to say about each. */
const PARTS = 2000;
const SEE_DOCS = "/docs says what is expected";

/** How many values a value holds; or `most`, where there are more. */
function partsOf(value: unknown, most: number): number {
  if (typeof value !== "object" || value === null) return 1;
  let parts = 1;
  for (const each of Object.values(value)) {
    parts += partsOf(each, most - parts);
    if (parts >= most) return most;
  }
  return parts;
}

/** What is wrong first: the field, what it is, and what was expected. */
function refusalOf(schema: Schema, first: readonly Issue[], input: unknown): Refusal {
  const isAll = partsOf(input, PARTS) < PARTS;
  // A misspelt key is also a missing one; only the first helps.
  const issues = isAll ? (v.safeParse(schema, input).issues ?? first) : first;
  const issue = issues.find(isUnknownKey) ?? issues[0];
  const path = issue.path ?? [];
  const keys = path.map(({ key }) => key);
  // The runtime's own words, which know each op.
  if (keys[0] === "interventions" && isAll)
    parseInterventions((input as { interventions: unknown }).interventions);
  const param = keys.reduce<string>(
    (text, key) =>
      text + (typeof key === "number" ? `[${key}]` : text && `.`) + (typeof key === "number" ? "" : key),
    "",
  );
  const refuse = (what: string, help = SEE_DOCS) =>
    new Refusal(400, "usage", `${param.slice(0, 200) || "the request"} ${what}`, help, {
      param: param.slice(0, 200) || undefined,
    });
  if (isUnknownKey(issue)) {
    const known = keys.length === 1 && "entries" in schema ? Object.keys(schema.entries as object) : [];
    const nearest = known.length > 0 ? closest(String(keys[0]), known) : "";
    const isNear = nearest !== "" && distance(String(keys[0]), nearest) <= MISSPELT * nearest.length;
    return refuse("is not a field", isNear ? `did you mean ${displayValue(nearest)}?` : SEE_DOCS);
  }
  if (path.at(-1)?.origin === "key") return refuse("is missing");
  return refuse(`is ${displayValue(issue.input)}: ${path.length > 0 ? issue.message : "an object"} was expected`);
}

/** What the document says of a route. */
export function describe(
  summary: string,
  { tag, answer, streams, description, answers }: Description,
): MiddlewareHandler {
  const content = (schema: Schema, type: string) => ({ [type]: { schema: documented(schema) } });
  const types =
    typeof answer === "string"
      ? { [answer]: { schema: { type: "string" as const } } }
      : { ...content(answer, "application/json"), ...content(answer, "application/msgpack") };
  const failed = (what: string) => ({ description: what, content: content(failure, "application/json") });
  return describeRoute({
    summary,
    description,
    tags: [tag],
    responses: {
      200: {
        description: "What was asked for",
        content: streams
          ? { ...types, "text/event-stream": { schema: { type: "string", description: streams } } }
          : types,
      },
      ...answers,
      400: failed("What was asked for can't be done: the message says why"),
      401: failed("A key is missing, or not one of this server's"),
      429: failed("Too many requests: `retry-after` says when"),
      500: failed("The server failed: its operator finds the id in the log"),
    },
  });
}

interface Description {
  tag: string;
  description?: string;
  /** Its schema, or a media type of text. */
  answer: Schema | string;
  /** Where it can also stream: what the events are. */
  streams?: string;
  answers?: DescribeRouteOptions["responses"];
}
