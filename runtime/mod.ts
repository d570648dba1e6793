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
import type { Checkpoint, CheckpointFiles, OpenOptions } from "./formats/checkpoint.ts";
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
export { type ModelConfig, resolveConfig, VARIANTS } from "./config/config.ts";
export { parameterCount } from "./config/parameter-specs.ts";
export { PRESETS } from "./config/presets.ts";
export type { Checkpoint, CheckpointFiles, OpenOptions } from "./formats/checkpoint.ts";
export type {
  FinishEvent,
  GenerateEvent,
  GenerateOptions,
  Prompt,
  TokenEvent,
} from "./generation/options.ts";
export { GenerationPool, type PoolOptions, type PoolStats } from "./generation/pool.ts";
export type { SamplingOptions } from "./generation/sampling.ts";
export type { SteerEvent, SteerOptions } from "./generation/steer.ts";
export type { SteeringOptions } from "./interventions/compile.ts";
export type { RunOptions } from "./interventions/prepare-run.ts";
export { type Intervention, parseInterventions, type Target } from "./interventions/spec.ts";
export { HostTensor, type TensorData } from "./math/host-tensor.ts";
export {
  type Ids,
  type Input,
  Model,
  type RunWithCacheOptions,
  type RunWithHooksOptions,
  type SequenceInput,
} from "./model/model.ts";
export type { LoadModelOptions } from "./model/read.ts";
export { composePatches, type Edit, type GenePatch, invertPatch, parsePatch } from "./patches/patch.ts";
export {
  LEXICON_SPACES,
  Lexicon,
  type LexiconEntry,
  type LexiconSignal,
  type LexiconSpace,
  type LexiconToken,
  type MapPoint,
  type Neighbour,
} from "./signals/lexicon.ts";
export { parseExpression, type Term } from "./text/expression.ts";
export { Tokenizer } from "./text/tokenizer.ts";
export { type Activation, type Hook, type HookFunction, hookNames } from "./transformer/hooks.ts";

/**
 * Loads a checkpoint folder, or a run's newest checkpoint, onto a device of its own.
 *
 * @param from a folder on this machine, or the URL of a checkpoint folder, which in a page may be relative. From a URL, weights
 *   are written to the device as they arrive, and the hashes of the manifest are not compared.
 * @throws ReflowError naming the file and the problem; `usage` for an unknown device, `device` for one that is unavailable,
 *   `memory` if the weights do not fit, `network` for a URL that cannot be fetched
 * @example
 * // In a bundled page (`assets`: see BackendOptions):
 * using model = await loadModel("models/tiny", { assets: new URL("reflow/", document.baseURI) });
 */
export async function loadModel(from: string | URL, options?: LoadModelOptions): Promise<Model> {
  // Pages and their workers have a location, and no file system.
  const address = globalThis.location ? new URL(from, location.href) : from;
  if (address instanceof URL && address.protocol !== "file:") return fetchModel(address, options);
  // Imported dynamically, so that the rest of this module runs in a browser.
  const disk = await import("./model/load.ts");
  return disk.loadModel(from, options);
}

/**
 * The URL of the small model that comes with the package (7.3M parameters, int8, 8 MB), for {@link loadModel}.
 *
 * @example
 * using model = await loadModel(bundledModel());
 */
export const bundledModel = (): URL => new URL("../server/model/", import.meta.url);

/**
 * Writes `model.int8.safetensors` beside the weights of a checkpoint on disk: a quarter of their size.
 *
 * @param path a checkpoint folder, or a run folder for its newest checkpoint
 * @returns the path of the file written
 * @throws ReflowError `checkpoint` or `format` for a folder that cannot be read or written, `numerics` for weights that are not
 *   finite
 */
export async function quantizeCheckpoint(path: string): Promise<string> {
  const disk = await import("./formats/quantize.ts");
  return disk.quantizeCheckpoint(path);
}

/**
 * Opens a checkpoint on disk and verifies it: config, tokenizer and tensors, read in chunks. The caller closes it.
 *
 * @throws ReflowError `checkpoint`, `config` or `format` naming the file and the problem
 */
export async function openCheckpoint(path: string, options?: OpenOptions): Promise<Checkpoint> {
  const disk = await import("./formats/checkpoint.ts");
  return disk.openCheckpoint(path, options);
}

/**
 * Writes a checkpoint folder atomically: after a crash it is either absent or complete.
 *
 * @throws ReflowError `checkpoint` if it cannot be written or already exists
 */
export async function writeCheckpoint(
  folder: string,
  write: (files: CheckpointFiles) => void | Promise<void>,
): Promise<void> {
  const disk = await import("./formats/checkpoint.ts");
  await disk.writeCheckpoint(folder, write);
}
