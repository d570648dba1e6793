import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import type { ModelConfig, PartialConfig, Variant } from "../../../runtime/config/config.ts";
import { Model } from "../../../runtime/model/model.ts";
import type { Edit, GenePatch } from "../../../runtime/patches/patch.ts";
import type { InferenceModel } from "../../../runtime/transformer/inference.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { makeModel, randomValues, tinyConfig, type WeightType } from "../transformer/inference-support.ts";

export { SEA, THE, WAS } from "../interventions/support.ts";

export const CHECKPOINT = "0123456789abcdef".repeat(4);

/** Shared by all models here; the float64 reference backend would take a minute. */
const backend = await createWasmBackend({ threads: 1 });

export interface PatchSetting {
  config: ModelConfig;
  inner: InferenceModel;
  model: Model;
  values: Map<string, Float32Array>;
  patchOf(...edits: [token: number, signal: number, delta: number][]): GenePatch;
  /** A model created with these edits in R. */
  edited(edits: readonly Edit[]): Promise<Model>;
}

/** A random model with an identity, the tiny tokenizer and ten rows of padding. */
export async function setUpPatches(
  variant: Variant = "reflow",
  overrides: PartialConfig = {},
  type: WeightType = "f32",
): Promise<PatchSetting> {
  const config = tinyConfig(variant, { vocab_size: 300, ...overrides });
  const values = randomValues(config);
  const inner = { ...(await makeModel(backend, config, type, values)), checkpoint: CHECKPOINT };
  return {
    config,
    inner,
    values,
    model: new Model(inner, tinyTokenizer),
    patchOf: (...edits) => ({
      model: CHECKPOINT,
      edits: edits.map(([token, signal, delta]) => ({ token, signal, delta })),
    }),
    edited: async (edits) => {
      const recipe = Float64Array.from(values.get("recipe")!);
      for (const { token, signal, delta } of edits) recipe[token * config.n_signals! + signal] += delta;
      const other = new Map(values).set("recipe", Float32Array.from(recipe));
      return new Model(await makeModel(backend, config, type, other), tinyTokenizer);
    },
  };
}
