export const SCHEDULES = ["cosine", "wsd", "constant"] as const;
export type Schedule = (typeof SCHEDULES)[number];

export interface ScheduleOptions {
  schedule: Schedule;
  /** The highest rate. */
  lr: number;
  /** What `cosine` and `wsd` come down to. */
  minLr: number;
  /** Steps of linear warm-up. */
  warmup: number;
  /** The horizon. After it, the rate stays at `minLr`. */
  steps: number;
}

/** The share of the steps over which `wsd` decays. */
const DECAY = 0.2;

/**
 * The learning rate of a step, counted from 0.
 *
 * In the warm-up it is lr·(step+1)/warmup: not 0 at first, and lr in the warm-up's last step. Then
 * - `constant`: lr;
 * - `cosine`: minLr + (lr − minLr)·(1 + cos πr)/2, where r goes from 0 in the first step after the warm-up to 1 in step
 *   `steps`, the first that isn't run (as in nanoGPT);
 * - `wsd` (warm-up, stable, decay; Hu et al. 2024): lr, and over the last fifth of the steps minLr + (lr − minLr)·(1 − r)
 *   with the same r, counted from where that fifth begins.
 */
export function learningRate(step: number, options: ScheduleOptions): number {
  const { schedule, lr, minLr, warmup, steps } = options;
  if (step < warmup) return lr * ((step + 1) / warmup);
  if (schedule === "constant") return lr;
  if (step >= steps) return minLr;
  const begin = schedule === "wsd" ? Math.max(warmup, Math.round(steps * (1 - DECAY))) : warmup;
  if (step < begin) return lr;
  const r = (step - begin) / (steps - begin);
  const share = schedule === "wsd" ? 1 - r : (1 + Math.cos(Math.PI * r)) / 2;
  return minLr + (lr - minLr) * share;
}
