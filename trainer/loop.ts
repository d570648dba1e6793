import { setImmediate as nextTurn } from "node:timers/promises";
import { ReflowError } from "../runtime/errors.ts";
import {
  type Checkpoint,
  latestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
  stepFolder,
} from "../runtime/formats/checkpoint.ts";
import { flopsPerToken } from "../runtime/model/config.ts";
import { Display } from "./display.ts";
import { Metrics } from "./metrics.ts";
import type { Training } from "./training.ts";

/** Windows of an evaluation in passing; the last one takes all. */
const EVALUATION_WINDOWS = 64;
/** Batches that may be passed over in a run before it is given up. */
const ROLLBACKS = 3;

export interface LoopOptions {
  run: string;
  /** Weights that the run begins with, and begins again with before its first checkpoint. */
  init?: Checkpoint;
  /**
   * Measures the operations a second that the machine could do at most, in some milliseconds. The best measurement
   * counts, since whatever else the machine does only lowers it.
   */
  roof?: () => number;
}

export type Ending = {
  reason: "steps" | "minutes" | "SIGINT" | "SIGTERM";
  checkpoint: string;
  valLoss?: number;
};

/**
 * Trains until the last step, the time, or a signal; saves, evaluates and logs on the way, and always at the end.
 *
 * After a step whose loss, gradient or new weights aren't finite the run goes back to its last checkpoint and passes over
 * the batches up to that step, as PaLM's training did (Chowdhery et al. 2022, section 5.1); after a few times it gives up.
 *
 * @throws ReflowError `numerics` then; `checkpoint` where a save fails: older checkpoints stay
 */
export async function runTraining(training: Training, options: LoopOptions): Promise<Ending> {
  const { run } = options;
  let roof = options.roof?.();
  const { trajectory, conduct, model } = training.settings;
  const { steps } = trajectory;
  const metrics = new Metrics(run);
  metrics.cut(training.step);
  const display = new Display(training.step, steps);
  const signals = watchSignals((name) => display.note(`${name}: saving; once more to leave at once`));
  const deadline = performance.now() + (conduct.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const flops = flopsPerToken(model, model.context);
  let valLoss: number | undefined;
  let saved = -1;
  let rollbacks = 0;

  // Signals arrive between turns of the event loop; training has none of its own.
  const pause = async () => {
    await nextTurn();
    if (signals.caught) throw new Interrupted();
  };
  const evaluate = async (windows: number) => {
    valLoss = await training.evaluate(windows, pause);
    metrics.write({ step: training.step, valLoss });
  };
  const save = async () => {
    if (saved === training.step) return;
    const folder = stepFolder(run, training.step);
    if (latestCheckpoint(run) !== folder) await training.save(folder);
    saved = training.step;
    pruneCheckpoints(run, conduct.keep);
  };
  const rollBack = (failure: string) => {
    const failed = training.step;
    const what = `step ${failed + 1}: ${failure}`;
    if (++rollbacks > ROLLBACKS) {
      throw new ReflowError(
        "numerics",
        `${what}, after going back ${ROLLBACKS} times`,
        "lower --lr, lengthen --warmup or clip with --grad-clip; checkpoints are from before",
      );
    }
    returnToCheckpoint(training, run, options.init);
    training.skipPast(failed);
    metrics.cut(training.step);
    display.note(`${what}; back to step ${training.step}, passing over the batches in between`);
  };

  try {
    while (training.step < steps && performance.now() < deadline) {
      const start = performance.now();
      const { loss, lr, gradNorm, failure } = await training.train(pause);
      if (failure) {
        rollBack(failure);
        continue;
      }
      const tokensPerSecond = (1000 * training.tokensPerStep) / (performance.now() - start);
      const { step } = training;
      const log = step % conduct.logEvery === 0 || step === steps;
      if (log && roof) roof = Math.max(roof, options.roof!());
      const roofShare = roof && (tokensPerSecond * flops) / roof;
      if (log) {
        metrics.write({
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
      display.step(step, { loss, valLoss, tokensPerSecond, roofShare }, log);
      if (step % conduct.saveEvery === 0 || step === steps) await save();
    }
    await save();
    await evaluate(Number.POSITIVE_INFINITY);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    await save();
  } finally {
    display.stop();
    signals.stop();
  }
  const reason = signals.caught ?? (training.step >= steps ? "steps" : "minutes");
  return { reason, checkpoint: stepFolder(run, training.step), valLoss };
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

class Interrupted extends Error {}

/** The first SIGINT or SIGTERM is kept for the loop; a second one ends the process at once. */
function watchSignals(onFirst: (name: string) => void): { caught?: "SIGINT" | "SIGTERM"; stop(): void } {
  const handlers = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const handler = () => {
      if (watch.caught) process.exit(EXIT_CODES[name]);
      watch.caught = name;
      onFirst(name);
    };
    process.on(name, handler);
    return [name, handler] as const;
  });
  const watch: ReturnType<typeof watchSignals> = {
    stop: () => {
      for (const [name, handler] of handlers) process.off(name, handler);
    },
  };
  return watch;
}

/** 128 + the signal's number, as shells have it. */
export const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
