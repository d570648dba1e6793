import type { PartialConfig } from "../../runtime/config/config.ts";
import { loadModel } from "../../runtime/mod.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { Services } from "../../server/context/services.ts";
import { memoryStore, patchStore } from "../../server/patches/store.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";

export async function tinyModel(overrides?: PartialConfig): Promise<Model> {
  const folder = `${temporaryFolder()}/tiny`;
  await writeTinyCheckpoint(folder, overrides);
  return loadModel(folder, { device: "wasm", threads: 1 });
}

/** Services for a model without authentication; a test can override each of them. */
export const servicesOf = (model: Model, overrides: Partial<Services> = {}): Services => ({
  model,
  name: "tiny",
  pool: overrides.pool ?? model.pool({ slots: 8 }),
  patches: patchStore(memoryStore()),
  keys: [],
  origins: [],
  log() {},
  ...overrides,
});
