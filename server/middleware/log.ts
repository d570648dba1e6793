/** One line for each request, when its last byte is out. */
import { createMiddleware } from "hono/factory";
import type { AppEnv, Services } from "../services.ts";
import type { Account } from "./account.ts";

/** The first middleware: gives requests their id and their account, and logs them. */
export function log({ log }: Pick<Services, "log">) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const id = crypto.randomUUID();
    const start = performance.now();
    const account: Account = { tokens: 0 };
    c.set("requestId", id);
    c.set("account", account);
    await next();
    c.header("x-request-id", id);
    const { status } = c.res;
    const write = () => {
      const { key, tokens, error } = account;
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
    if (account.ended) account.ended.then(write, write);
    else write();
  });
}

/** An entry of the log as its line: nothing that a client sent can begin another, or reach a terminal. */
export function logLine(entry: Readonly<Record<string, unknown>>): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(entry).replace(/[\u007f-\uffff]/g, escaped);
}
