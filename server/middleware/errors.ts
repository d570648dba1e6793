/** Errors as OpenAI's clients know them: `{"error":{"message","type","param","code","help","id"}}`. */
import type { Context, ErrorHandler, NotFoundHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { RouterRoute } from "hono/types";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { type ErrorCode, ReflowError } from "../../runtime/common/errors.ts";
import type { AppEnv } from "../services.ts";

/** A request that is refused, whatever the model: its status, and what to do about it. */
export class Refusal extends Error {
  override readonly name = "Refusal";

  constructor(
    readonly status: ContentfulStatusCode,
    readonly code: string,
    message: string,
    readonly help: string,
    readonly options: { param?: string; headers?: Record<string, string> } = {},
  ) {
    super(message);
  }
}

/** The codes that a request can cause. The others are the server's own fault, and of no concern to clients. */
const STATUS: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  usage: 400,
  data: 400,
  numerics: 422,
  busy: 429,
  memory: 503,
};

/** What `type` is for a status, in OpenAI's words. */
function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** Answers with what a request did wrong. */
export const onError: ErrorHandler<AppEnv> = (error, c) => {
  const { status, options } = refusalOf(error);
  return c.json(failureOf(error, c), status, options.headers);
};

/** An error as clients see it. What is the server's own fault is only in the log, under the request's id. */
export function failureOf(error: Error, c: Context<AppEnv>) {
  const { status, code, message, help, options } = refusalOf(error);
  if (status === 500)
    c.var.account.error = `${error.stack ?? error}${error.cause ? `\ncause: ${error.cause}` : ""}`;
  return {
    error: { message, type: typeOf(status), param: options.param ?? null, code, help, id: c.var.requestId },
  };
}

/** An unknown path, or a method that a path hasn't got. */
export function notFound(
  routes: () => readonly Pick<RouterRoute, "method" | "path">[],
): NotFoundHandler<AppEnv> {
  return (c) => {
    const { method, path } = c.req;
    const allowed = routes()
      .filter((route) => isRoute(route) && matches(route.path, path))
      .map((route) => route.method);
    const what = `there is no ${method} ${path.slice(0, 200)}`;
    if (allowed.length === 0) {
      return c.json(failureOf(new Refusal(404, "not_found", what, "see /docs for what there is"), c), 404);
    }
    const allow = [...new Set(allowed)].join(", ");
    const failure = failureOf(new Refusal(405, "method_not_supported", what, `use ${allow}`), c);
    return c.json(failure, 405, { allow });
  };
}

/** Not what is for any method, or any path: middleware, and the page. */
const isRoute = ({ method, path }: Pick<RouterRoute, "method" | "path">): boolean =>
  method !== "ALL" && !path.includes("*");

/** A pattern of hono's, whose parameters are parts of a path. */
function matches(pattern: string, path: string): boolean {
  const [wanted, found] = [pattern.split("/"), path.split("/")];
  const isPart = (part: string, i: number) => (part.startsWith(":") ? found[i] !== "" : part === found[i]);
  return wanted.length === found.length && wanted.every(isPart);
}

function refusalOf(error: Error): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof ReflowError) {
    const status = STATUS[error.code];
    const headers = error.code === "busy" || error.code === "memory" ? { "retry-after": "1" } : undefined;
    if (status) return new Refusal(status, error.code, error.message, error.help ?? "", { headers });
  }
  // hono's own, of bodies that aren't JSON for one.
  if (error instanceof HTTPException && error.status < 500) {
    return new Refusal(
      error.status as ContentfulStatusCode,
      "invalid_request",
      error.message,
      "see /docs for what is expected",
    );
  }
  // The client has gone: nobody reads this.
  if (error.name === "AbortError")
    return new Refusal(499 as ContentfulStatusCode, "aborted", "the client left", "");
  return new Refusal(
    500,
    "internal_error",
    "the server failed",
    "try again; if it persists, tell its operator this id",
  );
}
