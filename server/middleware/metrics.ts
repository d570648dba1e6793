import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import type { Metrics } from "../context/metrics.ts";
import type { AppEnv } from "../context/services.ts";

/** Counts requests. Mounted after {@link requestLog}, which creates the request's record. */
export function recordMetrics(metrics: Metrics) {
  return createMiddleware<AppEnv>(async (c, next) => {
    const start = performance.now();
    const end = metrics.begin();
    await next();
    const { record } = c.var;
    const { status } = c.res;
    const { method } = c.req;
    const route = status === 404 && routePath(c).includes("*") ? "unknown" : routePath(c);
    const count = () => {
      const seconds = (performance.now() - start) / 1000;
      metrics.count({ method, route, status, seconds, tokens: record.tokens });
      end();
    };
    if (record.ended) record.ended.then(count, count);
    else count();
  });
}
