// Few rows times a weight matrix, as in decoding: each weight is read once, in the type it is stored in.
import { fma, sum, widenHalf } from "./math";
import { F16, F32 } from "./ops";
import { arg, barrier, pointer, sharedScratch, take } from "./parallel";

/** Columns of the output (rows of the weights) a task. */
const ROWS = 32;

/**
 * out (M,N) = or += x (M,K)·Wᵀ. Arguments: out, x, W (N,K), its scales, its type, M, N, K, accumulate.
 * For I8 each row of x is rounded to int8 by groups of 32 first, and kept as int16, which is what the dot product takes.
 */
export function matvec(thread: i32): void {
  const out = pointer(0);
  const x = pointer(1);
  const type = arg(4);
  const M = arg(5);
  const N = arg(6);
  const K = arg(7);
  const accumulate = arg(8) != 0;
  const groups = (K + 31) >> 5;
  if (type != F32 && type != F16) {
    for (let m = take(); m < M; m = take()) quantise(x + ((<usize>m * K) << 2), m, M, K);
    barrier(thread);
  }
  const codes = sharedScratch();
  const scales = codes + ((<usize>M * groups) << 6);
  for (let from = take() * ROWS; from < N; from = take() * ROWS) {
    const end = min(N, from + ROWS);
    for (let m = 0; m < M; m++) {
      const row = x + ((<usize>m * K) << 2);
      for (let n = from; n < end; n++) {
        let y: f32;
        if (type == F32) y = dot(row, pointer(2) + ((<usize>n * K) << 2), K);
        else if (type == F16) y = dotHalf(row, pointer(2) + ((<usize>n * K) << 1), K);
        else {
          y = dotInt8(
            codes + ((<usize>m * groups) << 6),
            scales + ((<usize>m * groups) << 2),
            pointer(2) + <usize>n * K,
            pointer(3) + ((<usize>n * groups) << 2),
            K,
          );
        }
        const p = out + ((<usize>(m * N + n)) << 2);
        store<f32>(p, accumulate ? load<f32>(p) + y : y);
      }
    }
  }
}

function dot(x: usize, w: usize, K: i32): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  let c = f32x4.splat(0);
  let d = f32x4.splat(0);
  const end = x + ((<usize>K) << 2);
  for (; x + 64 <= end; x += 64, w += 64) {
    a = fma(v128.load(x), v128.load(w), a);
    b = fma(v128.load(x, 16), v128.load(w, 16), b);
    c = fma(v128.load(x, 32), v128.load(w, 32), c);
    d = fma(v128.load(x, 48), v128.load(w, 48), d);
  }
  let total = sum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
  for (; x < end; x += 4, w += 4) total += load<f32>(x) * load<f32>(w);
  return total;
}

function dotHalf(x: usize, w: usize, K: i32): f32 {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  const end = x + ((<usize>K) << 2);
  for (; x + 32 <= end; x += 32, w += 16) {
    a = fma(v128.load(x), widenHalf(w), a);
    b = fma(v128.load(x, 16), widenHalf(w + 8), b);
  }
  let total = sum(f32x4.add(a, b));
  for (; x < end; x += 4, w += 2) total += load<f32>(x) * f32x4.extract_lane(widenHalf(w), 0);
  return total;
}

/** Row m's codes (int16, 64 bytes a group, zero-filled) and scales (absolute maximum / 127). */
function quantise(x: usize, m: i32, M: i32, K: i32): void {
  const groups = (K + 31) >> 5;
  const codes = sharedScratch() + ((<usize>m * groups) << 6);
  const scales = sharedScratch() + ((<usize>M * groups) << 6) + ((<usize>m * groups) << 2);
  for (let g = 0; g < groups; g++) {
    const count = min(32, K - (g << 5));
    const from = x + ((<usize>g) << 7);
    const to = codes + ((<usize>g) << 6);
    let top: f32 = 0;
    for (let i = 0; i < count; i++) top = max(top, abs(load<f32>(from + ((<usize>i) << 2))));
    store<f32>(scales + ((<usize>g) << 2), top / 127);
    const inverse: f32 = top > 0 ? 127 / top : 0;
    for (let i = 0; i < 32; i++) {
      const code = i < count ? <i32>nearest(load<f32>(from + ((<usize>i) << 2)) * inverse) : 0;
      store<i16>(to + ((<usize>i) << 1), <i16>code);
    }
  }
}

/** Σ over groups of 32: (Σ x·w as integers) · scale of x · scale of w. */
function dotInt8(x: usize, xScales: usize, w: usize, wScales: usize, K: i32): f32 {
  let acc = f32x4.splat(0);
  const whole = w + <usize>(K & ~31);
  for (; w < whole; w += 32, x += 64, xScales += 4, wScales += 4) {
    const a = i32x4.dot_i16x8_s(v128.load8x8_s(w), v128.load(x));
    const b = i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), v128.load(x, 16));
    const c = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), v128.load(x, 32));
    const d = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), v128.load(x, 48));
    const scale = f32x4.mul(v128.load32_splat(xScales), v128.load32_splat(wScales));
    acc = fma(f32x4.convert_i32x4_s(i32x4.add(i32x4.add(a, b), i32x4.add(c, d))), scale, acc);
  }
  let total = sum(acc);
  if (K & 31) {
    let rest = 0;
    for (let i = 0; i < (K & 31); i++) rest += <i32>load<i8>(w + i) * <i32>load<i16>(x + ((<usize>i) << 1));
    total += <f32>rest * load<f32>(xScales) * load<f32>(wScales);
  }
  return total;
}
