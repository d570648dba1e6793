/** The HTTP app, the same on Bun, Deno and Workers. */
import { Hono } from "hono";
import { etag } from "hono/etag";
import { Lexicon } from "../runtime/signals/lexicon.ts";
import { Gate } from "./gate.ts";
import { body } from "./middleware/body.ts";
import { cors } from "./middleware/cors.ts";
import { notFound, onError, Refusal } from "./middleware/errors.ts";
import { headers } from "./middleware/headers.ts";
import { keys } from "./middleware/keys.ts";
import { log } from "./middleware/log.ts";
import { Metrics, metrics } from "./middleware/metrics.ts";
import { rateLimit } from "./middleware/rate.ts";
import { completionRoutes } from "./routes/completions.ts";
import { documentRoutes } from "./routes/document.ts";
import { healthRoutes, metricsRoutes } from "./routes/health.ts";
import { lexiconRoutes } from "./routes/lexicon.ts";
import { patchRoutes } from "./routes/patches.ts";
import { probeRoutes } from "./routes/probes.ts";
import { readingRoutes } from "./routes/reading.ts";
import { steerRoutes } from "./routes/steer.ts";
import type { AppEnv, Services, Tools } from "./services.ts";

/** Computations beside generation, and those that wait: each may hold a cache of its own. */
const GATE = { places: 2, queue: 64 };

/** What is no file of the page. */
const OURS = /^\/(v1\/.*|docs|metrics|openapi\.json)$/;

/**
 * Makes the app.
 *
 * @example
 * const app = createApp({ model, name: "tiny", pool: model.pool(), patches: patchStore(memoryTexts()), keys: [], origins: [], log() {} });
 * Bun.serve({ fetch: app.fetch });
 */
export function createApp(services: Services) {
  const { model, assets, ready = () => true, counted = new Metrics() } = services;
  const gate = new Gate(GATE);
  let lexicon: Promise<Lexicon> | undefined;
  const tools: Tools = {
    ...services,
    gate,
    lexicon(patched) {
      if (patched) return gate.run(() => Lexicon.of(model, patched), patched.signal);
      // Everybody's: it is read whether or not who asked first is still there.
      lexicon ??= gate.run(() => Lexicon.of(model));
      // What failed is tried again.
      lexicon.catch(() => {
        lexicon = undefined;
      });
      return lexicon;
    },
  };
  const app = new Hono<AppEnv>();
  app.onError(onError);
  app.notFound(notFound(() => app.routes));
  app.use(log(services), metrics(counted), headers(), cors(services));
  const open = app.route("/", healthRoutes(services));
  open.use((_, next) => {
    if (ready()) return next();
    throw new Refusal(503, "ending", "the server is about to end", "ask another one", {
      headers: { "retry-after": "5" },
    });
  });
  // The page is anyone's: who has it open enters a key there.
  open.get("*", etag(), async (c, next) => {
    const file = OURS.test(c.req.path) ? undefined : await assets?.(c.req.path);
    return file ?? next();
  });
  open.use(keys(services), rateLimit(services), body(services));
  return open
    .route("/", completionRoutes(tools))
    .route("/", steerRoutes(tools))
    .route("/", readingRoutes(tools))
    .route("/", lexiconRoutes(tools))
    .route("/", patchRoutes(tools))
    .route("/", probeRoutes(tools))
    .route("/", metricsRoutes(services, counted))
    .route("/", documentRoutes(app, services));
}

/** For `hc<AppType>(address)` of hono/client. */
export type AppType = ReturnType<typeof createApp>;
