/** Errors in the format of the OpenAI API: `{"error":{"message","type","param","code","help","id"}}`. */
import type { Context, ErrorHandler, NotFoundHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { RouterRoute } from "hono/types";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { type ErrorCode, ReflowError } from "../../runtime/common/errors.ts";
import type { AppEnv } from "../context/services.ts";

/** An error response: its HTTP status, its message, and what the client can do. */
export class ApiError extends Error {
  override readonly name = "ApiError";

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

/** Status of the error codes that a request can cause. The others are internal errors and are not disclosed to clients. */
const STATUS: Partial<Record<ErrorCode, ContentfulStatusCode>> = {
  usage: 400,
  data: 400,
  numerics: 422,
  busy: 429,
  memory: 503,
};

/** OpenAI's error type for a status. */
function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** Sends the error that a handler threw. */
export const onError: ErrorHandler<AppEnv> = (error, c) => {
  const { status, options } = toApiError(error);
  return c.json(errorBody(error, c), status, options.headers);
};

/** An error as clients see it. The details of an internal error appear only in the log, under the request's id. */
export function errorBody(error: Error, c: Context<AppEnv>) {
  const { status, code, message, help, options } = toApiError(error);
  if (status === 500)
    c.var.record.error = `${error.stack ?? error}${error.cause ? `\ncause: ${error.cause}` : ""}`;
  return {
    error: { message, type: typeOf(status), param: options.param ?? null, code, help, id: c.var.requestId },
  };
}

/** Handles unknown paths (404), and methods that a path does not support (405). */
export function notFound(
  routes: () => readonly Pick<RouterRoute, "method" | "path">[],
): NotFoundHandler<AppEnv> {
  return (c) => {
    const { method, path } = c.req;
    const allowed = routes()
      .filter((route) => isRoute(route) && matches(route.path, path))
      .map((route) => route.method);
    const message = `there is no ${method} ${path.slice(0, 200)}`;
    if (allowed.length === 0) {
      return c.json(
        errorBody(new ApiError(404, "not_found", message, "see /docs for the available routes"), c),
        404,
      );
    }
    const allow = [...new Set(allowed)].join(", ");
    const failure = errorBody(new ApiError(405, "method_not_supported", message, `use ${allow}`), c);
    return c.json(failure, 405, { allow });
  };
}

/** Excludes middleware and the playground, which are registered for any method or for a wildcard path. */
const isRoute = ({ method, path }: Pick<RouterRoute, "method" | "path">): boolean =>
  method !== "ALL" && !path.includes("*");

/** Whether a path matches a hono pattern in which each parameter is one path segment. */
function matches(pattern: string, path: string): boolean {
  const [wanted, found] = [pattern.split("/"), path.split("/")];
  const isPart = (part: string, i: number) => (part.startsWith(":") ? found[i] !== "" : part === found[i]);
  return wanted.length === found.length && wanted.every(isPart);
}

function toApiError(error: Error): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ReflowError) {
    const status = STATUS[error.code];
    const headers = error.code === "busy" || error.code === "memory" ? { "retry-after": "1" } : undefined;
    if (status) return new ApiError(status, error.code, error.message, error.help ?? "", { headers });
  }
  // Thrown by hono, for example for a body that is not JSON.
  if (error instanceof HTTPException && error.status < 500) {
    return new ApiError(
      error.status as ContentfulStatusCode,
      "invalid_request",
      error.message,
      "see /docs for what is expected",
    );
  }
  // The client has disconnected, so this response is only logged.
  if (error.name === "AbortError")
    return new ApiError(499 as ContentfulStatusCode, "aborted", "the client disconnected", "");
  return new ApiError(
    500,
    "internal_error",
    "internal server error",
    "retry; if the error persists, report this id to the operator",
  );
}
