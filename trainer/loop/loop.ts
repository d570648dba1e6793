import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { ReflowError } from "../../runtime/common/errors.ts";
import { flopsPerToken } from "../../runtime/config/parameter-specs.ts";
import {
  type Checkpoint,
  latestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
  stepFolder,
} from "../../runtime/formats/checkpoint.ts";
import { EXIT_CODES, watchSignals } from "../../runtime/host/signals.ts";
import { Interrupted, isSignal, type PollStop, type StopReason } from "../distributed/stop-reason.ts";
import { Display } from "../monitoring/display.ts";
import { Metrics } from "../monitoring/metrics.ts";
import { type WatchedToken, WatchLog } from "../monitoring/watch.ts";
import type { Training } from "./training.ts";

/** Windows of an intermediate evaluation; the final one uses all. */
const EVALUATION_WINDOWS = 64;
/** Rollbacks in a run before it is abandoned. */
const MAX_ROLLBACKS = 3;

export interface LoopOptions {
  /** The run's folder. */
  run: string;
  /** Initial weights, also used for a rollback before the first checkpoint. */
  init?: Checkpoint;
  /** The time at which the run ends, on the clock of `performance.now()`. */
  until?: number;
  /**
   * Measures the peak operations per second of the machine, in a few milliseconds. The best of all measurements counts,
   * since other load on the machine can only lower it.
   */
  roof?: () => number | Promise<number>;
  /** Tokens to log at each evaluation. */
  watched?: readonly WatchedToken[];
}

export type RunResult = {
  /** The reason why the run ended; `steps`: it has reached its last step. */
  reason: "steps" | StopReason;
  checkpoint: string;
  valLoss?: number;
};

/**
 * Trains until the last step, the time limit or a signal. Saves, evaluates and logs at the configured intervals, and saves
 * at the end. In a distributed job all ranks run this loop and end at the same step; rank 0 writes files and shows progress.
 *
 * After a step whose loss, gradient or new weights are not finite, the run rolls back to its last checkpoint and skips the
 * batches up to that step, as PaLM's training did (Chowdhery et al. 2022, section 5.1). After a few rollbacks the run is
 * abandoned; a job of several ranks is abandoned immediately.
 *
 * @throws ReflowError `numerics` if the run is abandoned; `checkpoint` if saving fails, in which case older checkpoints
 *   remain; `job` if another rank failed
 */
export async function runTraining(training: Training, options: LoopOptions): Promise<RunResult> {
  const { run, until = Number.POSITIVE_INFINITY } = options;
  let roof = await options.roof?.();
  const { trajectory, execution, model } = training.settings;
  const { steps } = trajectory;
  const { rank, world } = training.collective;
  const metrics = rank === 0 ? new Metrics(run) : undefined;
  metrics?.truncateAfter(training.step);
  const watch = rank === 0 && options.watched ? new WatchLog(run, training, options.watched) : undefined;
  watch?.truncateAfter(training.step);
  const display = rank === 0 ? new Display(training.step, steps) : undefined;
  const signals = watchSignals((name, isFirst) => {
    if (isFirst) display?.note(`${name}: saving a checkpoint; repeat the signal to exit immediately`);
    else if (world === 1) process.exit(EXIT_CODES[name]); // ranks leave this to their launcher
  });
  const flops = flopsPerToken(model, model.context);
  let valLoss: number | undefined;
  let saved = latestCheckpoint(run) === stepFolder(run, training.step) ? training.step : -1;
  let rollbacks = 0;
  let stopReason: StopReason | undefined;

  // Signals are delivered by the event loop, which training would otherwise block.
  const pollStop: PollStop = async () => {
    await yieldToEventLoop();
    return signals.caught ?? (performance.now() >= until ? "minutes" : undefined);
  };
  const evaluate = async (windows: number) => {
    valLoss = await training.evaluate(windows, pollStop);
    metrics?.write({ step: training.step, valLoss });
    await watch?.write(valLoss);
  };
  const save = async () => {
    if (saved === training.step) return;
    await training.save(stepFolder(run, training.step));
    saved = training.step;
    if (rank === 0) pruneCheckpoints(run, execution.keep);
  };
  const rollBack = (failure: string) => {
    const failed = training.step;
    const what = `step ${failed + 1}: ${failure}`;
    const help = "lower --lr, lengthen --warmup or set --grad-clip; saved checkpoints are not affected";
    if (world > 1) throw new ReflowError("numerics", what, help);
    if (++rollbacks > MAX_ROLLBACKS) {
      throw new ReflowError("numerics", `${what}, after ${MAX_ROLLBACKS} rollbacks`, help);
    }
    restoreLatest(training, run, options.init);
    training.skipPast(failed);
    metrics?.truncateAfter(training.step);
    watch?.truncateAfter(training.step);
    display?.note(`${what}; rolled back to step ${training.step}, skipping the batches in between`);
  };

  try {
    if (training.step === 0) await watch?.write();
    while (training.step < steps && !stopReason) {
      const start = performance.now();
      const { loss, lr, gradNorm, failure, ...result } = await training.train(pollStop);
      if (failure) {
        rollBack(failure);
        continue;
      }
      stopReason = result.stopReason;
      const tokensPerSecond = (1000 * training.tokensPerStep) / (performance.now() - start);
      const { step } = training;
      const log = step % execution.logEvery === 0 || step === steps;
      if (log && roof) roof = Math.max(roof, await options.roof!());
      const roofShare = roof && (tokensPerSecond * flops) / roof;
      if (log) {
        metrics?.write({
          step,
          loss,
          lr,
          gradNorm,
          tokens: step * training.tokensPerStep,
          tokensPerSecond,
          ...(roofShare && { roofShare }),
        });
      }
      if (step % execution.evalEvery === 0 && step < steps) await evaluate(EVALUATION_WINDOWS);
      display?.step(step, { loss, valLoss, tokensPerSecond, roofShare }, log);
      if (step % execution.saveEvery === 0 || step === steps) await save();
    }
    await save();
    if (!isSignal(stopReason)) await evaluate(Number.POSITIVE_INFINITY);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    stopReason = error.signal;
    if (!signals.caught) display?.note(`${stopReason} on another rank: saving a checkpoint`);
    await save();
  } finally {
    display?.stop();
    signals.stop();
  }
  return { reason: stopReason ?? "steps", checkpoint: stepFolder(run, training.step), valLoss };
}

/** Restores the newest checkpoint of a run; without one, starts again from the initial weights. */
export function restoreLatest(training: Training, run: string, init?: Checkpoint): void {
  const latest = latestCheckpoint(run);
  if (!latest) {
    training.start(init);
    return;
  }
  const checkpoint = openCheckpoint(latest);
  try {
    training.restore(checkpoint);
  } finally {
    checkpoint.close();
  }
}
