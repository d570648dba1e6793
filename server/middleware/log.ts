/** Writes one log line per request, after the last byte of its response. */
import { createMiddleware } from "hono/factory";
import type { RequestRecord } from "../context/request-record.ts";
import type { AppEnv, Services } from "../context/services.ts";

/** Assigns the request's id and record, and logs the request. Must be the first middleware. */
export function requestLog({ log }: Pick<Services, "log">) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const id = crypto.randomUUID();
    const start = performance.now();
    const record: RequestRecord = { tokens: 0 };
    c.set("requestId", id);
    c.set("record", record);
    await next();
    c.header("x-request-id", id);
    const { status } = c.res;
    const write = () => {
      const { key, tokens, error } = record;
      const time = new Date().toISOString();
      const path = c.req.path.slice(0, 500);
      const ms = Math.round(performance.now() - start);
      log({
        time,
        level: error ? "error" : "info",
        id,
        method: c.req.method,
        path,
        status,
        ms,
        key,
        tokens,
        error,
      });
    };
    if (record.ended) record.ended.then(write, write);
    else write();
  });
}

/** Formats a log entry as one line of ASCII, so that client input can neither start another line nor send control codes to a terminal. */
export function logLine(entry: Readonly<Record<string, unknown>>): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(entry).replace(/[\u007f-\uffff]/g, escaped);
}
