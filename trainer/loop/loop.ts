import { setImmediate as nextTurn } from "node:timers/promises";
import { ReflowError } from "../../runtime/common/errors.ts";
import { flopsPerToken } from "../../runtime/config/config.ts";
import {
  type Checkpoint,
  latestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
  stepFolder,
} from "../../runtime/formats/checkpoint.ts";
import { EXIT_CODES, watchSignals } from "../../runtime/host/signals.ts";
import { Display } from "../monitoring/display.ts";
import { Metrics } from "../monitoring/metrics.ts";
import { Interrupted, isSignal, type Pause, type Stop } from "../distributed/stop-reason.ts";
import type { Training } from "./training.ts";
import { Watch, type Watched } from "../monitoring/watch.ts";

/** Windows of an evaluation in passing; the last one takes all. */
const EVALUATION_WINDOWS = 64;
/** Batches that may be passed over in a run before it is given up. */
const ROLLBACKS = 3;

export interface LoopOptions {
  run: string;
  /** Weights that the run begins with, and begins again with before its first checkpoint. */
  init?: Checkpoint;
  /** When the run ends, as `performance.now()` counts. */
  until?: number;
  /**
   * Measures the operations a second that the machine could do at most, in some milliseconds. The best measurement
   * counts, since whatever else the machine does only lowers it.
   */
  roof?: () => number | Promise<number>;
  /** Tokens that are logged at each evaluation. */
  watched?: readonly Watched[];
}

export type Ending = {
  reason: "steps" | Stop;
  checkpoint: string;
  valLoss?: number;
};

/**
 * Trains until the last step, the time, or a signal; saves, evaluates and logs on the way, and always at the end. Of several
 * ranks all run this loop, and end it at the same step; the first one writes and shows.
 *
 * After a step whose loss, gradient or new weights aren't finite the run goes back to its last checkpoint and passes over
 * the batches up to that step, as PaLM's training did (Chowdhery et al. 2022, section 5.1); after a few times it gives up.
 * A job of several ranks gives up at once.
 *
 * @throws ReflowError `numerics` then; `checkpoint` where a save fails: older checkpoints stay; `job` where another rank
 *   failed
 */
export async function runTraining(training: Training, options: LoopOptions): Promise<Ending> {
  const { run, until = Number.POSITIVE_INFINITY } = options;
  let roof = await options.roof?.();
  const { trajectory, conduct, model } = training.settings;
  const { steps } = trajectory;
  const { rank, world } = training.collective;
  const metrics = rank === 0 ? new Metrics(run) : undefined;
  metrics?.cut(training.step);
  const watch = rank === 0 && options.watched ? new Watch(run, training, options.watched) : undefined;
  watch?.cut(training.step);
  const display = rank === 0 ? new Display(training.step, steps) : undefined;
  const signals = watchSignals((name, isFirst) => {
    if (isFirst) display?.note(`${name}: saving; once more to leave at once`);
    else if (world === 1) process.exit(EXIT_CODES[name]); // ranks leave that to who started them
  });
  const flops = flopsPerToken(model, model.context);
  let valLoss: number | undefined;
  let saved = latestCheckpoint(run) === stepFolder(run, training.step) ? training.step : -1;
  let rollbacks = 0;
  let stop: Stop | undefined;

  // Signals arrive between turns of the event loop; training has none of its own.
  const pause: Pause = async () => {
    await nextTurn();
    return signals.caught ?? (performance.now() >= until ? "minutes" : undefined);
  };
  const evaluate = async (windows: number) => {
    valLoss = await training.evaluate(windows, pause);
    metrics?.write({ step: training.step, valLoss });
    await watch?.write(valLoss);
  };
  const save = async () => {
    if (saved === training.step) return;
    await training.save(stepFolder(run, training.step));
    saved = training.step;
    if (rank === 0) pruneCheckpoints(run, conduct.keep);
  };
  const rollBack = (failure: string) => {
    const failed = training.step;
    const what = `step ${failed + 1}: ${failure}`;
    const help = "lower --lr, lengthen --warmup or clip with --grad-clip; checkpoints are from before";
    if (world > 1) throw new ReflowError("numerics", what, help);
    if (++rollbacks > ROLLBACKS) {
      throw new ReflowError("numerics", `${what}, after going back ${ROLLBACKS} times`, help);
    }
    returnToCheckpoint(training, run, options.init);
    training.skipPast(failed);
    metrics?.cut(training.step);
    watch?.cut(training.step);
    display?.note(`${what}; back to step ${training.step}, passing over the batches in between`);
  };

  try {
    if (training.step === 0) await watch?.write();
    while (training.step < steps && !stop) {
      const start = performance.now();
      const { loss, lr, gradNorm, failure, ...result } = await training.train(pause);
      if (failure) {
        rollBack(failure);
        continue;
      }
      stop = result.stop;
      const tokensPerSecond = (1000 * training.tokensPerStep) / (performance.now() - start);
      const { step } = training;
      const log = step % conduct.logEvery === 0 || step === steps;
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
      if (step % conduct.evalEvery === 0 && step < steps) await evaluate(EVALUATION_WINDOWS);
      display?.step(step, { loss, valLoss, tokensPerSecond, roofShare }, log);
      if (step % conduct.saveEvery === 0 || step === steps) await save();
    }
    await save();
    if (!isSignal(stop)) await evaluate(Number.POSITIVE_INFINITY);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    stop = error.stop;
    if (!signals.caught) display?.note(`${stop} at another rank: saving`);
    await save();
  } finally {
    display?.stop();
    signals.stop();
  }
  return { reason: stop ?? "steps", checkpoint: stepFolder(run, training.step), valLoss };
}

/** The newest checkpoint, or the weights that the run began with. */
export function returnToCheckpoint(training: Training, run: string, init?: Checkpoint): void {
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
