/** Validates requests against schemas, words the errors, and describes routes in the OpenAPI document. */
import type { JsonSchema, OverrideSchemaContext } from "@valibot/to-json-schema";
import { closest, distance } from "fastest-levenshtein";
import type { MiddlewareHandler, ValidationTargets } from "hono";
import { createMiddleware } from "hono/factory";
import { type DescribeRouteOptions, describeRoute, resolver, uniqueSymbol } from "hono-openapi";
import * as v from "valibot";
import { displayValue } from "../../runtime/common/validation.ts";
import { parseInterventions } from "../../runtime/interventions/spec.ts";
import type { AppEnv } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import { failure, UNSUPPORTED } from "../schemas/fields.ts";

type Schema = v.GenericSchema;
type Validated<Target extends keyof ValidationTargets, S extends Schema> = MiddlewareHandler<
  AppEnv,
  string,
  { in: { [K in Target]: v.InferInput<S> }; out: { [K in Target]: v.InferOutput<S> } }
>;

/** Validates the decoded body. */
export const body = <S extends Schema>(schema: S): Validated<"json", S> => validated("json", schema);
/** Validates the query parameters. */
export const query = <S extends Schema>(schema: S): Validated<"query", S> => validated("query", schema);

function validated<Target extends "json" | "query", S extends Schema>(
  target: Target,
  schema: S,
): Validated<Target, S> {
  const middleware = createMiddleware<AppEnv>(async (c, next) => {
    const input = target === "json" ? (c.var.body ?? {}) : c.req.query();
    const result = v.safeParse(schema, input, { abortEarly: true });
    if (!result.success) throw invalidRequest(schema, result.issues, input);
    c.req.addValidatedData(target, result.output as object);
    await next();
  });
  return Object.assign(middleware, {
    [uniqueSymbol]: { target, ...schemaOf(schema) },
  }) as unknown as Validated<Target, S>;
}

/** A schema for the OpenAPI document. */
const schemaOf = (schema: Schema) => resolver(schema, { options: { overrideSchema } });

function overrideSchema({ valibotSchema, jsonSchema }: OverrideSchemaContext): JsonSchema | undefined {
  const { type } = valibotSchema;
  // Numbers that may be a Float32Array, which JSON Schema cannot express.
  if (type === "custom" || type === "instance") return { type: "array", items: { type: "number" } };
  // Client generators treat a field with a default as required, so the default is given in the description.
  const { default: value, ...rest } = jsonSchema;
  return value === undefined ? undefined : { ...rest, description: `Default: ${JSON.stringify(value)}` };
}

type Issue = v.BaseIssue<unknown>;

const isUnknownKey = ({ expected }: Issue): boolean => expected === "never";

/** Maximum edit distance, as a fraction of a name's length, at which the name is suggested. */
const MAX_MISSPELLING = 0.4;
/** Requests with fewer values are validated completely; in larger ones only the first issue is determined, which bounds the work. */
const MAX_PARTS = 2000;
const SEE_DOCS = "see /docs for the expected fields";

/** Number of values nested in a value, at most `most`. */
function partsOf(value: unknown, most: number): number {
  if (typeof value !== "object" || value === null) return 1;
  let parts = 1;
  for (const each of Object.values(value)) {
    parts += partsOf(each, most - parts);
    if (parts >= most) return most;
  }
  return parts;
}

/** The error for the most relevant issue: the field, its value, and what was expected. */
function invalidRequest(schema: Schema, first: readonly Issue[], input: unknown): ApiError {
  const isComplete = partsOf(input, MAX_PARTS) < MAX_PARTS;
  // A misspelt key is also reported as a missing one; the unknown key is the more helpful of the two.
  const issues = isComplete ? (v.safeParse(schema, input).issues ?? first) : first;
  const issue = issues.find(isUnknownKey) ?? issues[0];
  const path = issue.path ?? [];
  const keys = path.map(({ key }) => key);
  // The runtime's parser gives more specific errors, which depend on the op.
  if (keys[0] === "interventions" && isComplete)
    parseInterventions((input as { interventions: unknown }).interventions);
  const param = keys.reduce<string>(
    (text, key) =>
      text + (typeof key === "number" ? `[${key}]` : text && `.`) + (typeof key === "number" ? "" : key),
    "",
  );
  const refuse = (problem: string, help = SEE_DOCS) =>
    new ApiError(400, "usage", `${param.slice(0, 200) || "the request"} ${problem}`, help, {
      param: param.slice(0, 200) || undefined,
    });
  if (isUnknownKey(issue)) {
    const known = keys.length === 1 && "entries" in schema ? Object.keys(schema.entries as object) : [];
    const nearest = known.length > 0 ? closest(String(keys[0]), known) : "";
    const isNear = nearest !== "" && distance(String(keys[0]), nearest) <= MAX_MISSPELLING * nearest.length;
    return refuse("is not a field", isNear ? `did you mean ${displayValue(nearest)}?` : SEE_DOCS);
  }
  if (path.at(-1)?.origin === "key") return refuse("is missing");
  if (issue.message.startsWith(UNSUPPORTED)) return refuse(issue.message);
  const expected = path.length > 0 ? issue.message : "an object";
  return refuse(`is ${displayValue(issue.input)}: expected ${expected}`);
}

/** Describes a route in the OpenAPI document. */
export function describe(
  summary: string,
  { tag, answer, streams, description, answers }: Description,
): MiddlewareHandler {
  const content = (schema: Schema, type: string) => ({ [type]: { schema: schemaOf(schema) } });
  const types =
    typeof answer === "string"
      ? { [answer]: { schema: { type: "string" as const } } }
      : { ...content(answer, "application/json"), ...content(answer, "application/msgpack") };
  const errorResponse = (description: string) => ({
    description,
    content: content(failure, "application/json"),
  });
  return describeRoute({
    summary,
    description,
    tags: [tag],
    responses: {
      200: {
        description: "Success",
        content: streams
          ? { ...types, "text/event-stream": { schema: { type: "string", description: streams } } }
          : types,
      },
      ...answers,
      400: errorResponse("The request is invalid; the message gives the reason"),
      401: errorResponse("The API key is missing or not valid"),
      429: errorResponse("Too many requests; `Retry-After` gives the time to wait"),
      500: errorResponse("Internal server error; the operator finds its id in the log"),
    },
  });
}

interface Description {
  tag: string;
  description?: string;
  /** Schema of the response, or a text media type. */
  answer: Schema | string;
  /** Description of the events, for a route that can also stream. */
  streams?: string;
  answers?: DescribeRouteOptions["responses"];
}
