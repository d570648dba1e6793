/**
 * The HTTP API and the playground as a Hono app, to be served or mounted in another app.
 *
 * @example
 * import { Hono } from "hono";
 * import { loadModel } from "reflow";
 * import { createApp, memoryStore, patchStore } from "reflow/server";
 *
 * const model = await loadModel("runs/tiny");
 * const api = createApp({
 *   model,
 *   name: "tiny",
 *   pool: model.pool(),
 *   patches: patchStore(memoryStore()),
 *   keys: [],
 *   origins: [],
 *   log: console.log,
 * });
 * const app = new Hono().mount("/reflow", api.fetch);
 */
export { type AppType, createApp } from "./app.ts";
export { assets } from "./assets.ts";
export { Metrics } from "./context/metrics.ts";
export type { AppEnv, Services } from "./context/services.ts";
export { shedLoad } from "./load-shedding.ts";
export { BUNDLED_MODEL } from "./options.ts";
export { type KvNamespace, kvStore } from "./patches/kv.ts";
export { sqliteStore } from "./patches/sqlite.ts";
export {
  memoryStore,
  type PatchStore,
  patchStore,
  type SavedPatch,
  type TextStore,
} from "./patches/store.ts";
