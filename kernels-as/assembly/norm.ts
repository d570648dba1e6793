// RMSNorm and LayerNorm, eps = 1e-5. Forward tasks are rows. Backward tasks are rows for dx, then columns for the
// gradients of the weights, so that each sum has the same order for any number of threads.
import { fma, sum } from "./math";
import { arg, barrier, pointer, take } from "./parallel";

const ROWS = 16;
const COLUMNS = 64;
const EPS: f32 = 1e-5;

function sumOfSquares(x: usize, C: i32): f32 {
  let acc = f32x4.splat(0);
  const end = x + (<usize>C << 2);
  for (; x + 16 <= end; x += 16) {
    const v = v128.load(x);
    acc = fma(v, v, acc);
  }
  let total = sum(acc);
  for (; x < end; x += 4) total += load<f32>(x) * load<f32>(x);
  return total;
}

/** out (M,C) = x·rstd·weight. Arguments: out, rstd, x, weight, M, C. */
export function rmsnorm(): void {
  const M = arg(4);
  const C = arg(5);
  for (let from = take() * ROWS; from < M; from = take() * ROWS) {
    const end = min(M, from + ROWS);
    for (let r = from; r < end; r++) {
      const x = pointer(2) + (<usize>r * C << 2);
      const out = pointer(0) + (<usize>r * C << 2);
      const weight = pointer(3);
      const rstd: f32 = 1 / sqrt<f32>(sumOfSquares(x, C) / <f32>C + EPS);
      store<f32>(pointer(1) + (<usize>r << 2), rstd);
      const scale = f32x4.splat(rstd);
      let i = 0;
      for (; i + 4 <= C; i += 4) {
        const at = <usize>i << 2;
        v128.store(out + at, f32x4.mul(f32x4.mul(v128.load(x + at), scale), v128.load(weight + at)));
      }
      for (; i < C; i++) {
        const at = <usize>i << 2;
        store<f32>(out + at, load<f32>(x + at) * rstd * load<f32>(weight + at));
      }
    }
  }
}

/**
 * With g = dOut·weight: dx += rstd·(g − x·rstd²·mean(g·x)); dWeight += Σ_rows dOut·x·rstd.
 * Arguments: dx, dWeight, dOut, x, weight, rstd, M, C.
 */
export function rmsnormBackward(thread: i32): void {
  const M = arg(6);
  const C = arg(7);
  for (let from = take() * ROWS; from < M; from = take() * ROWS) {
    const end = min(M, from + ROWS);
    for (let r = from; r < end; r++) {
      const row = <usize>r * C << 2;
      const dx = pointer(0) + row;
      const dOut = pointer(2) + row;
      const x = pointer(3) + row;
      const weight = pointer(4);
      const rstd = load<f32>(pointer(5) + (<usize>r << 2));
      let acc = f32x4.splat(0);
      let i = 0;
      for (; i + 4 <= C; i += 4) {
        const at = <usize>i << 2;
        acc = fma(f32x4.mul(v128.load(dOut + at), v128.load(weight + at)), v128.load(x + at), acc);
      }
      let dot = sum(acc);
      for (; i < C; i++) {
        const at = <usize>i << 2;
        dot += load<f32>(dOut + at) * load<f32>(weight + at) * load<f32>(x + at);
      }
      const back = -dot * rstd * rstd * rstd / <f32>C;
      const scale = f32x4.splat(rstd);
      const backs = f32x4.splat(back);
      for (i = 0; i + 4 <= C; i += 4) {
        const at = <usize>i << 2;
        const g = f32x4.mul(v128.load(dOut + at), v128.load(weight + at));
        v128.store(dx + at, f32x4.add(v128.load(dx + at), fma(g, scale, f32x4.mul(v128.load(x + at), backs))));
      }
      for (; i < C; i++) {
        const at = <usize>i << 2;
        const g = load<f32>(dOut + at) * load<f32>(weight + at);
        store<f32>(dx + at, load<f32>(dx + at) + (g * rstd + load<f32>(x + at) * back));
      }
    }
  }
  barrier(thread);
  for (let column = take() * COLUMNS; column < C; column = take() * COLUMNS) {
    const count = min(COLUMNS, C - column);
    const dWeight = pointer(1) + (<usize>column << 2);
    for (let r = 0; r < M; r++) {
      const row = (<usize>r * C + column) << 2;
      const rstd = load<f32>(pointer(5) + (<usize>r << 2));
      accumulateNormalised(dWeight, pointer(2) + row, pointer(3) + row, 0, rstd, count);
    }
  }
}

/** to += dOut·(x − mean)·rstd */
@inline function accumulateNormalised(to: usize, dOut: usize, x: usize, mean: f32, rstd: f32, count: i32): void {
  const scale = f32x4.splat(rstd);
  const means = f32x4.splat(mean);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    const normalised = f32x4.mul(f32x4.sub(v128.load(x + at), means), scale);
    v128.store(to + at, fma(v128.load(dOut + at), normalised, v128.load(to + at)));
  }
  for (; i < count; i++) {
    const at = <usize>i << 2;
    store<f32>(to + at, load<f32>(to + at) + load<f32>(dOut + at) * (load<f32>(x + at) - mean) * rstd);
  }
}

/** out (M,C) = (x − mean)·rstd·weight + bias. Arguments: out, stats (M,2), x, weight, bias, M, C. */
export function layernorm(): void {
  const M = arg(5);
  const C = arg(6);
  for (let from = take() * ROWS; from < M; from = take() * ROWS) {
    const end = min(M, from + ROWS);
    for (let r = from; r < end; r++) {
      const x = pointer(2) + (<usize>r * C << 2);
      const out = pointer(0) + (<usize>r * C << 2);
      let mean: f32 = 0;
      for (let i = 0; i < C; i++) mean += load<f32>(x + (<usize>i << 2));
      mean /= <f32>C;
      let variance: f32 = 0;
      for (let i = 0; i < C; i++) {
        const centred = load<f32>(x + (<usize>i << 2)) - mean;
        variance += centred * centred;
      }
      const rstd: f32 = 1 / sqrt<f32>(variance / <f32>C + EPS);
      store<f32>(pointer(1) + (<usize>r << 3), mean);
      store<f32>(pointer(1) + (<usize>r << 3), rstd, 4);
      for (let i = 0; i < C; i++) {
        const at = <usize>i << 2;
        store<f32>(
          out + at,
          (load<f32>(x + at) - mean) * rstd * load<f32>(pointer(3) + at) + load<f32>(pointer(4) + at),
        );
      }
    }
  }
}

/**
 * With g = dOut·weight and y = (x − mean)·rstd: dx += rstd·(g − mean(g) − y·mean(g·y)); dWeight += Σ dOut·y;
 * dBias += Σ dOut. Arguments: dx, dWeight, dBias, dOut, x, weight, stats, M, C.
 */
export function layernormBackward(thread: i32): void {
  const M = arg(7);
  const C = arg(8);
  for (let from = take() * ROWS; from < M; from = take() * ROWS) {
    const end = min(M, from + ROWS);
    for (let r = from; r < end; r++) {
      const row = <usize>r * C << 2;
      const dx = pointer(0) + row;
      const dOut = pointer(3) + row;
      const x = pointer(4) + row;
      const weight = pointer(5);
      const mean = load<f32>(pointer(6) + (<usize>r << 3));
      const rstd = load<f32>(pointer(6) + (<usize>r << 3), 4);
      let meanG: f32 = 0;
      let meanGY: f32 = 0;
      for (let i = 0; i < C; i++) {
        const at = <usize>i << 2;
        const g = load<f32>(dOut + at) * load<f32>(weight + at);
        meanG += g;
        meanGY += g * (load<f32>(x + at) - mean) * rstd;
      }
      meanG /= <f32>C;
      meanGY /= <f32>C;
      for (let i = 0; i < C; i++) {
        const at = <usize>i << 2;
        const g = load<f32>(dOut + at) * load<f32>(weight + at);
        const y = (load<f32>(x + at) - mean) * rstd;
        store<f32>(dx + at, load<f32>(dx + at) + rstd * (g - meanG - y * meanGY));
      }
    }
  }
  barrier(thread);
  for (let column = take() * COLUMNS; column < C; column = take() * COLUMNS) {
    const count = min(COLUMNS, C - column);
    const dWeight = pointer(1) + (<usize>column << 2);
    const dBias = pointer(2) + (<usize>column << 2);
    for (let r = 0; r < M; r++) {
      const row = (<usize>r * C + column) << 2;
      const mean = load<f32>(pointer(6) + (<usize>r << 3));
      const rstd = load<f32>(pointer(6) + (<usize>r << 3), 4);
      accumulateNormalised(dWeight, pointer(3) + row, pointer(4) + row, mean, rstd, count);
      for (let i = 0; i < count; i++) {
        const at = <usize>i << 2;
        store<f32>(dBias + at, load<f32>(dBias + at) + load<f32>(pointer(3) + row + at));
      }
    }
  }
}
