/** Whether the server is there, and what it is doing. */
import { Hono } from "hono";
import * as v from "valibot";
import { Refusal } from "../middleware/errors.ts";
import type { Metrics } from "../middleware/metrics.ts";
import type { AppEnv, Services } from "../services.ts";
import { describe } from "./validate.ts";

const tag = "Health";
const state = v.object({ status: v.string() });

/** These need no key. */
export function healthRoutes({ ready = () => true }: Services) {
  return new Hono<AppEnv>()
    .get("/livez", describe("Is the process alive?", { tag, answer: state }), (c) =>
      c.json({ status: "alive" }),
    )
    .get("/readyz", describe("Does it take requests?", { tag, answer: state }), (c) => {
      if (ready()) return c.json({ status: "ready" });
      throw new Refusal(503, "ending", "the server is about to end", "ask another one", {
        headers: { "retry-after": "5" },
      });
    });
}

/** This one does. */
export function metricsRoutes(services: Services, metrics: Metrics) {
  return new Hono<AppEnv>().get(
    "/metrics",
    describe("Figures, as Prometheus reads them", { tag, answer: "text/plain" }),
    (c) =>
      c.text(metrics.text(services), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
}
