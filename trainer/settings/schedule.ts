export const SCHEDULES = ["cosine", "wsd", "constant"] as const;
export type Schedule = (typeof SCHEDULES)[number];

export interface ScheduleOptions {
  schedule: Schedule;
  /** Peak learning rate. */
  lr: number;
  /** Final learning rate of `cosine` and `wsd`. */
  minLr: number;
  /** Steps of linear warm-up. */
  warmup: number;
  /** The horizon: from this step on, `cosine` and `wsd` stay at `minLr`. */
  steps: number;
}

/** The fraction of the steps over which `wsd` decays. */
const DECAY_FRACTION = 0.2;

/**
 * The learning rate of a step, counted from 0.
 *
 * During warm-up the rate is lr·(step+1)/warmup: not 0 in the first step, and lr in the last. Afterwards:
 * - `constant`: lr;
 * - `cosine`: minLr + (lr − minLr)·(1 + cos πr)/2, where r grows from 0 in the first step after the warm-up to 1 in step
 *   `steps`, the first one that is not run (as in nanoGPT);
 * - `wsd` (warm-up, stable, decay; Hu et al. 2024): lr, then over the last fifth of the steps minLr + (lr − minLr)·(1 − r),
 *   where r grows from 0 at the start of that fifth to 1 in step `steps`.
 */
export function learningRate(step: number, options: ScheduleOptions): number {
  const { schedule, lr, minLr, warmup, steps } = options;
  if (step < warmup) return lr * ((step + 1) / warmup);
  if (schedule === "constant") return lr;
  if (step >= steps) return minLr;
  const begin = schedule === "wsd" ? Math.max(warmup, Math.round(steps * (1 - DECAY_FRACTION))) : warmup;
  if (step < begin) return lr;
  const r = (step - begin) / (steps - begin);
  const decay = schedule === "wsd" ? 1 - r : (1 + Math.cos(Math.PI * r)) / 2;
  return minLr + (lr - minLr) * decay;
}
