/** Prepares a model and its hooks for one call. */

import { applyPatch, type PatchOptions } from "../patches/apply.ts";
import type { HookSet } from "../transformer/hooks.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { compileInterventions, type Passage, type SteeringOptions } from "./compile.ts";

/** Changes to a model during one call: a patch edits its recipes, and interventions act on its activations. */
export interface RunOptions extends SteeringOptions, PatchOptions {}

/** @throws ReflowError as {@link applyPatch} and {@link compileInterventions} */
export async function prepareRun(
  loaded: InferenceModel,
  options: RunOptions,
  passages: readonly Passage[],
  signal?: AbortSignal,
): Promise<{ model: InferenceModel; hooks: HookSet | undefined }> {
  const model = await applyPatch(loaded, options.patch);
  const hooks = await compileInterventions(model, options, passages, signal);
  return { model, hooks };
}
