/** How often one may ask. */
import { createMiddleware } from "hono/factory";
import type { AppEnv, Services } from "../services.ts";
import { Refusal } from "./errors.ts";

/** Clients remembered at once; who was not seen for longest is forgotten, and has a full bucket again. */
const CLIENTS = 10_000;

/**
 * Lets each key, or address where there are no keys, ask `rate` times a minute: a bucket of as many tokens, which fills
 * steadily. Behind {@link keys}.
 */
export function rateLimit({ rate, address }: Pick<Services, "rate" | "address">) {
  const buckets = new Map<string, { tokens: number; time: number }>();
  return createMiddleware<AppEnv>(async (c, next) => {
    if (rate !== undefined) {
      const client = c.var.account.key ?? address?.(c) ?? "";
      const time = performance.now();
      const last = buckets.get(client) ?? { tokens: rate, time };
      const tokens = Math.min(rate, last.tokens + ((time - last.time) / 60_000) * rate);
      buckets.delete(client);
      buckets.set(client, { tokens: Math.max(0, tokens >= 1 ? tokens - 1 : tokens), time });
      if (buckets.size > CLIENTS) buckets.delete(buckets.keys().next().value!);
      if (tokens < 1) {
        const seconds = Math.ceil(((1 - tokens) / rate) * 60);
        throw new Refusal(
          429,
          "rate_limit_exceeded",
          `more than ${rate} requests a minute`,
          `try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}`,
          { headers: { "retry-after": String(seconds) } },
        );
      }
    }
    await next();
  });
}
