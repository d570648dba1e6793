/** The HTTP app, identical on Bun, Deno and Workers. */
import { Hono } from "hono";
import { etag } from "hono/etag";
import { AdmissionQueue } from "../runtime/generation/admission-queue.ts";
import { Lexicon } from "../runtime/signals/lexicon.ts";
import { Metrics } from "./context/metrics.ts";
import type { AppEnv, RouteServices, Services } from "./context/services.ts";
import { requireApiKey } from "./middleware/api-keys.ts";
import { bodyCodec } from "./middleware/body.ts";
import { cors } from "./middleware/cors.ts";
import { ApiError, notFound, onError } from "./middleware/errors.ts";
import { securityHeaders } from "./middleware/headers.ts";
import { requestLog } from "./middleware/log.ts";
import { recordMetrics } from "./middleware/metrics.ts";
import { rateLimit } from "./middleware/rate-limit.ts";
import { completionRoutes } from "./routes/completions.ts";
import { healthRoutes, metricsRoutes } from "./routes/health.ts";
import { inspectionRoutes } from "./routes/inspection.ts";
import { lexiconRoutes } from "./routes/lexicon.ts";
import { openapiRoutes } from "./routes/openapi.ts";
import { patchRoutes } from "./routes/patches.ts";
import { probeRoutes } from "./routes/probes.ts";
import { steerRoutes } from "./routes/steer.ts";

/** Analyses that run at once, and those that may wait: each may hold a cache of its own. */
const ANALYSES = { slots: 2, queue: 64 };

/** Paths of the API, which are never files of the playground. */
const API_PATHS = /^\/(v1\/.*|docs|metrics|openapi\.json)$/;

/**
 * Creates the app.
 *
 * @example
 * const app = createApp({ model, name: "tiny", pool: model.pool(), patches: patchStore(memoryStore()), keys: [], origins: [], log() {} });
 * Bun.serve({ fetch: app.fetch });
 */
export function createApp(services: Services) {
  const { model, assets, ready = () => true, metrics = new Metrics() } = services;
  const analysisQueue = new AdmissionQueue(ANALYSES);
  let lexicon: Promise<Lexicon> | undefined;
  const routeServices: RouteServices = {
    ...services,
    analysisQueue,
    lexicon(patched) {
      if (patched) return analysisQueue.run(() => Lexicon.of(model, patched), { signal: patched.signal });
      // Shared by all requests, so a disconnect of the first client does not cancel it.
      lexicon ??= analysisQueue.run(() => Lexicon.of(model));
      // A failure is not cached.
      lexicon.catch(() => {
        lexicon = undefined;
      });
      return lexicon;
    },
  };
  const app = new Hono<AppEnv>();
  app.onError(onError);
  app.notFound(notFound(() => app.routes));
  app.use(requestLog(services), recordMetrics(metrics), securityHeaders(), cors(services));
  const publicRoutes = app.route("/", healthRoutes(services));
  publicRoutes.use((_, next) => {
    if (ready()) return next();
    throw new ApiError(503, "ending", "the server is shutting down", "send the request to another server", {
      headers: { "retry-after": "5" },
    });
  });
  // The playground needs no key to load; users enter theirs in the page.
  publicRoutes.get("*", etag(), async (c, next) => {
    const file = API_PATHS.test(c.req.path) ? undefined : await assets?.(c.req.path);
    return file ?? next();
  });
  publicRoutes.use(requireApiKey(services), rateLimit(services), bodyCodec(services));
  return publicRoutes
    .route("/", completionRoutes(routeServices))
    .route("/", steerRoutes(routeServices))
    .route("/", inspectionRoutes(routeServices))
    .route("/", lexiconRoutes(routeServices))
    .route("/", patchRoutes(routeServices))
    .route("/", probeRoutes(routeServices))
    .route("/", metricsRoutes(services, metrics))
    .route("/", openapiRoutes(app, services));
}

/** The type of the routes, for `hc<AppType>(address)` of hono/client. */
export type AppType = ReturnType<typeof createApp>;
