/**
 * Training from code: a whole run with {@link trainModel}, one step at a time with {@link Training}, or a loop of one's own
 * over {@link TrainableModel} and {@link AdamW}.
 *
 * @example
 * import { trainModel } from "reflow/trainer";
 *
 * await trainModel({ preset: "tiny", data: "corpus.txt", steps: 500, out: "runs/corpus" });
 */
import { SINGLE_PROCESS } from "./collective/collective.ts";
import { assignDevices } from "./distributed/devices.ts";
import { train } from "./loop/train.ts";
import type { Flags } from "./settings/settings.ts";

export type { Backend, Tensor } from "../runtime/backend/contract/backend.ts";
export { type BackendOptions, createBackend } from "../runtime/backend/create.ts";
export { type ModelConfig, resolveConfig } from "../runtime/config/config.ts";
export { PRESETS } from "../runtime/config/presets.ts";
export { AdamW, type StepOptions } from "../runtime/transformer/optimizer.ts";
export {
  allocateParameters,
  freeParameters,
  type InitializeOptions,
  initialize,
  type Parameters,
} from "../runtime/transformer/parameters.ts";
export { activationBytes, TrainableModel, trainingBytes } from "../runtime/transformer/trainable-model.ts";
export { type Collective, SINGLE_PROCESS } from "./collective/collective.ts";
export { type Data, type LoadOptions, loadData } from "./data/load.ts";
export { openPrepared, type Prepared, prepareData } from "./data/prepare.ts";
export { countWindows, readBatch, Sampler, type SamplerOptions } from "./data/sampler.ts";
export type { TokenSource } from "./data/shards.ts";
export { type LoopOptions, type RunResult, restoreLatest, runTraining } from "./loop/loop.ts";
export { type StepResult, Training } from "./loop/training.ts";
export { learningRate, SCHEDULES, type Schedule, type ScheduleOptions } from "./settings/schedule.ts";
export {
  type Execution,
  type Flags,
  readFlags,
  resolveSettings,
  resumeSettings,
  type Settings,
  type Trajectory,
} from "./settings/settings.ts";

/**
 * Trains a model in this process, as `reflow train` does: progress goes to stderr, checkpoints and `metrics.jsonl` to `out`.
 * SIGINT and SIGTERM save a checkpoint, end the run, and set `process.exitCode`.
 *
 * @param flags the flags of `reflow train` in camelCase; `world` must be 1 or absent
 * @throws ReflowError `usage` or `config` naming the setting and what was expected; `data`, `memory`, `device` or `numerics`
 *   for what fails later
 */
export async function trainModel(flags: Flags): Promise<void> {
  const [device] = await assignDevices(flags.device ?? "auto", 1);
  await train(
    { ...flags, world: 1 },
    { collective: SINGLE_PROCESS, device, threads: flags.threads, localRanks: 1 },
  );
}
