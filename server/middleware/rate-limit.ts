/** Rate limiting with token buckets. */
import { createMiddleware } from "hono/factory";
import type { AppEnv, Services } from "../context/services.ts";
import { ApiError } from "./errors.ts";

/** Clients tracked at once. The least recently seen one is dropped, and starts again with a full bucket. */
const CLIENTS = 10_000;

/**
 * Allows `rate` requests per minute for each key, or for each address if there are no keys. Each client has a bucket of `rate`
 * tokens that refills continuously. Mounted after {@link requireApiKey}.
 */
export function rateLimit({ rate, address }: Pick<Services, "rate" | "address">) {
  const buckets = new Map<string, { tokens: number; time: number }>();
  return createMiddleware<AppEnv>(async (c, next) => {
    if (rate !== undefined) {
      const client = c.var.record.key ?? address?.(c) ?? "";
      const time = performance.now();
      const last = buckets.get(client) ?? { tokens: rate, time };
      const tokens = Math.min(rate, last.tokens + ((time - last.time) / 60_000) * rate);
      buckets.delete(client);
      buckets.set(client, { tokens: Math.max(0, tokens >= 1 ? tokens - 1 : tokens), time });
      if (buckets.size > CLIENTS) buckets.delete(buckets.keys().next().value!);
      if (tokens < 1) {
        const seconds = Math.ceil(((1 - tokens) / rate) * 60);
        throw new ApiError(
          429,
          "rate_limit_exceeded",
          `more than ${rate} requests per minute`,
          `retry in ${seconds} ${seconds === 1 ? "second" : "seconds"}`,
          { headers: { "retry-after": String(seconds) } },
        );
      }
    }
    await next();
  });
}
