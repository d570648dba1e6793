// The global gradient norm and AdamW.
import { SUM_SQUARES_CHUNK } from "./layout";
import { fma, loadTo, storeTo, sum } from "./math";
import { arg, pointer, real, sharedScratch, take } from "./parallel";

const CHUNK = 16384;

/** Partial sums of Σ x² in the shared scratch memory, one f64 for each chunk. Arguments: x, size, index of the first. */
export function sumSquares(): void {
  const size = arg(1);
  for (let task = take(); task * SUM_SQUARES_CHUNK < size; task = take()) {
    let total: f64 = 0;
    const end = min(size, (task + 1) * SUM_SQUARES_CHUNK);
    for (let from = task * SUM_SQUARES_CHUNK; from < end; from += 1024) {
      let x = pointer(0) + ((<usize>from) << 2);
      const last = pointer(0) + ((<usize>min(end, from + 1024)) << 2);
      let acc = f32x4.splat(0);
      for (; x + 16 <= last; x += 16) {
        const v = v128.load(x);
        acc = fma(v, v, acc);
      }
      total += <f64>sum(acc);
      for (; x < last; x += 4) total += <f64>load<f32>(x) * <f64>load<f32>(x);
    }
    store<f64>(sharedScratch() + ((<usize>(arg(2) + task)) << 3), total);
  }
}

/** norm (1) = the square root of the sum of partial sums. Arguments: norm, number of partial sums. */
export function norm(): void {
  if (take() != 0) return;
  let total: f64 = 0;
  for (let i = 0; i < arg(1); i++) total += load<f64>(sharedScratch() + ((<usize>i) << 3));
  store<f32>(pointer(0), <f32>Math.sqrt(total));
}

/**
 * Arguments: param, grad, m, v, norm (1), size, then as floats lr, beta1, beta2, eps, weight decay, 1 − beta1^step,
 * 1 − beta2^step, clip.
 */
export function adamw(): void {
  const size = arg(5);
  const total = load<f32>(pointer(4));
  if (!isFinite(total)) return;
  const clip = real(13);
  const scale = f32x4.splat(clip > 0 ? min<f32>(1, clip / (total + 1e-6)) : 1);
  const beta1 = f32x4.splat(real(7));
  const beta2 = f32x4.splat(real(8));
  const rest1 = f32x4.splat(1 - real(7));
  const rest2 = f32x4.splat(1 - real(8));
  const eps = f32x4.splat(real(9));
  const keep = f32x4.splat(1 - real(6) * real(10));
  const rate = f32x4.splat(-real(6) / real(11));
  const correction = f32x4.splat(1 / real(12));
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = (<usize>min(size, from + CHUNK)) << 2;
    for (let at = (<usize>from) << 2; at < end; at += 16) {
      const g = f32x4.mul(loadTo(pointer(1) + at, pointer(1) + end), scale);
      const m = fma(rest1, g, f32x4.mul(beta1, loadTo(pointer(2) + at, pointer(2) + end)));
      const v = fma(f32x4.mul(rest2, g), g, f32x4.mul(beta2, loadTo(pointer(3) + at, pointer(3) + end)));
      const root = f32x4.add(f32x4.sqrt(f32x4.mul(v, correction)), eps);
      const p = f32x4.mul(loadTo(pointer(0) + at, pointer(0) + end), keep);
      storeTo(pointer(2) + at, pointer(2) + end, m);
      storeTo(pointer(3) + at, pointer(3) + end, v);
      storeTo(pointer(0) + at, pointer(0) + end, fma(f32x4.div(m, root), rate, p));
    }
  }
}
