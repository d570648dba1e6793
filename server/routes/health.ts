/** Health checks and metrics. */
import { Hono } from "hono";
import * as v from "valibot";
import type { Metrics } from "../context/metrics.ts";
import type { AppEnv, Services } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import { describe } from "./validate.ts";

const tag = "Health";
const state = v.object({ status: v.string() });

/** Liveness and readiness checks, which need no key. */
export function healthRoutes({ ready = () => true }: Services) {
  return new Hono<AppEnv>()
    .get("/livez", describe("Liveness check", { tag, answer: state }), (c) => c.json({ status: "alive" }))
    .get("/readyz", describe("Readiness check", { tag, answer: state }), (c) => {
      if (ready()) return c.json({ status: "ready" });
      throw new ApiError(503, "ending", "the server is shutting down", "send the request to another server", {
        headers: { "retry-after": "5" },
      });
    });
}

/** The metrics page, which needs a key if the server has keys. */
export function metricsRoutes(services: Services, metrics: Metrics) {
  return new Hono<AppEnv>().get(
    "/metrics",
    describe("Metrics in the Prometheus text format", { tag, answer: "text/plain" }),
    (c) =>
      c.text(metrics.text(services), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
}
