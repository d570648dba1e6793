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
import { fetchModel } from "./model/fetch.ts";
import type { Model } from "./model/model.ts";
import type { LoadModelOptions } from "./model/read.ts";

export { type BlastRadius, type BlastRadiusOptions, blastRadius } from "./analysis/blast-radius.ts";
export type { ChanceBand, ChanceBandOptions } from "./analysis/chance-band.ts";
export type { EvaluateOptions, Evaluation } from "./analysis/evaluate.ts";
export type { ExplainOptions, Explanation } from "./analysis/explain.ts";
export type { Lens, LensCell, LensOptions } from "./analysis/logit-lens.ts";
export type { ScoreOptions, TokenScore } from "./analysis/score-tokens.ts";
export { type ErrorCode, ReflowError } from "./common/errors.ts";
export { type ModelConfig, PRESETS, parameterCount, resolveConfig, VARIANTS } from "./config/config.ts";
export type {
  FinishEvent,
  GenerateEvent,
  GenerateOptions,
  Prompt,
  TokenEvent,
} from "./generation/generate.ts";
export { GenerationPool, type PoolOptions, type PoolStats } from "./generation/pool.ts";
export type { SamplingOptions } from "./generation/sampling.ts";
export type { SteerEvent, SteerOptions } from "./generation/steer.ts";
export type { SteeringOptions } from "./interventions/compile.ts";
export type { RunOptions } from "./interventions/prepare-run.ts";
export { type Intervention, parseInterventions, type Target } from "./interventions/spec.ts";
export {
  type HostTensor,
  type Ids,
  Model,
  type RunWithCacheOptions,
  type RunWithHooksOptions,
} from "./model/model.ts";
export type { LoadModelOptions } from "./model/read.ts";
export { composePatches, type Edit, type GenePatch, invertPatch, parsePatch } from "./patches/patch.ts";
export {
  LEXICON_SPACES,
  Lexicon,
  type LexiconEntry,
  type LexiconSpace,
  type LexiconToken,
  type MapPoint,
  type Neighbour,
} from "./signals/lexicon.ts";
export { parseExpression, type Term } from "./text/expression.ts";
export { Tokenizer } from "./text/tokenizer.ts";
export { type Activation, type Hook, type HookFunction, hookNames } from "./transformer/hooks.ts";

/**
 * Loads a checkpoint's folder, or a run's newest checkpoint, onto a device of its own.
 *
 * @param from a folder on this machine; or the address of a checkpoint's folder on the web, which in a page may be relative to
 *   the page's own. From the web the weights are on the device as they arrive, and a manifest's hashes are not compared.
 * @throws ReflowError naming the file and what is wrong with it; `usage` for an unknown device, `device` for one that can't
 *   be had, `memory` where the weights don't fit, `network` where an address can't be reached
 * @example
 * // In a page, bundled (`assets`: see BackendOptions):
 * using model = await loadModel("models/tiny", { assets: new URL("reflow/", document.baseURI) });
 */
export async function loadModel(from: string | URL, options?: LoadModelOptions): Promise<Model> {
  // Pages and their workers have a location, and no disk.
  const address = globalThis.location ? new URL(from, location.href) : from;
  if (address instanceof URL && address.protocol !== "file:") return fetchModel(address, options);
  // Only what needs a disk may import one: the rest of this module runs in a browser.
  const disk = await import("./model/load.ts");
  return disk.loadModel(from, options);
}
