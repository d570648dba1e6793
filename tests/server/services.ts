import type { PartialConfig } from "../../runtime/config/config.ts";
import { loadModel } from "../../runtime/mod.ts";
import type { Model } from "../../runtime/model/model.ts";
import { memoryTexts, patchStore } from "../../server/patches/store.ts";
import type { Services } from "../../server/services.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";

export async function tinyModel(overrides?: PartialConfig): Promise<Model> {
  const folder = `${temporaryFolder()}/tiny`;
  await writeTinyCheckpoint(folder, overrides);
  return loadModel(folder, { device: "wasm", threads: 1 });
}

/** What an app needs of a model, for anyone who asks; or what a test has in its place. */
export const servicesOf = (model: Model, more: Partial<Services> = {}): Services => ({
  model,
  name: "tiny",
  pool: more.pool ?? model.pool({ slots: 8 }),
  patches: patchStore(memoryTexts()),
  keys: [],
  origins: [],
  log() {},
  ...more,
});
