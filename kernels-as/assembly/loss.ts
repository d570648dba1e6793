import { exp, exp1, largest, sum } from "./math";
import { arg, pointer, real, take } from "./parallel";

/**
 * For each row: loss = log Σ exp(logit) − logit[target]. The row then becomes (softmax − onehot)·scale, unless scale is 0.
 * Arguments: losses, logits, targets, M, V, scale.
 */
export function crossEntropy(): void {
  const M = arg(3);
  const V = arg(4);
  const scale = real(5);
  for (let r = take(); r < M; r = take()) {
    const row = pointer(1) + ((<usize>r * V) << 2);
    const end = row + ((<usize>V) << 2);
    const wholeVectors = row + ((<usize>(V & ~3)) << 2);
    let tops = f32x4.splat(-Infinity);
    for (let p = row; p < wholeVectors; p += 16) {
      // max keeps a NaN, which pmax would drop: the loss is then NaN, and the trainer rejects the step.
      tops = f32x4.max(tops, v128.load(p));
    }
    let top = largest(tops);
    for (let p = wholeVectors; p < end; p += 4) top = max(top, load<f32>(p));

    const target = row + ((<usize>load<u32>(pointer(2) + ((<usize>r) << 2))) << 2);
    const shifted = load<f32>(target) - top;
    const shift = f32x4.splat(top);
    let acc = f32x4.splat(0);
    for (let p = row; p < wholeVectors; p += 16) {
      const e = exp(f32x4.sub(v128.load(p), shift));
      if (scale != 0) v128.store(p, e);
      acc = f32x4.add(acc, e);
    }
    let total = sum(acc);
    for (let p = wholeVectors; p < end; p += 4) {
      const e = exp1(load<f32>(p) - top);
      if (scale != 0) store<f32>(p, e);
      total += e;
    }
    store<f32>(pointer(0) + ((<usize>r) << 2), <f32>Math.log(total) - shifted);
    if (scale == 0) continue;
    const factor = scale / total;
    const factors = f32x4.splat(factor);
    for (let p = row; p < wholeVectors; p += 16) v128.store(p, f32x4.mul(v128.load(p), factors));
    for (let p = wholeVectors; p < end; p += 4) store<f32>(p, load<f32>(p) * factor);
    store<f32>(target, load<f32>(target) - scale);
  }
}
