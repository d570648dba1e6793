/**
 * reFlow: load, run and read language models whose embedding is factored into recipes and signals.
 *
 * @example
 * import { loadModel } from "reflow";
 *
 * using model = await loadModel("runs/tiny");
 * for await (const event of model.generate("Once upon a time", { maxTokens: 50 })) {
 *   process.stdout.write(event.text);
 * }
 */
import type { LoadModelOptions } from "./model/load.ts";
import type { Model } from "./model/model.ts";

export { type ErrorCode, ReflowError } from "./errors.ts";
export { type ModelConfig, PRESETS, parameterCount, resolveConfig, VARIANTS } from "./model/config.ts";
export type { FinishEvent, GenerateEvent, GenerateOptions, Prompt, TokenEvent } from "./model/generate.ts";
export { type Activation, type Hook, type HookFunction, hookNames } from "./model/hooks.ts";
export type { LoadModelOptions } from "./model/load.ts";
export {
  type EvaluateOptions,
  type Evaluation,
  type HostTensor,
  type Ids,
  Model,
  type RunWithCacheOptions,
} from "./model/model.ts";
export type { SamplingOptions } from "./model/sampling.ts";
export { Tokenizer } from "./text/tokenizer.ts";

/**
 * Loads a checkpoint's folder, or a run's newest checkpoint, onto a device of its own.
 *
 * @throws ReflowError naming the file and what is wrong with it; `device` for an unknown device, `memory` where the
 *   weights don't fit
 */
export async function loadModel(path: string, options?: LoadModelOptions): Promise<Model> {
  // Only what needs a disk may import one: the rest of this module runs in a browser.
  const disk = await import("./model/load.ts");
  return disk.loadModel(path, options);
}
