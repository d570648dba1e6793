// Products of few rows with weight matrices, as in decoding: each weight is read once, in the type it is stored in.
import { dot, fma, largest, loadTo, sum, widenHalf } from "./math";
import { F16, F32, I8 } from "./ops";
import { arg, pointer, scratch, take } from "./parallel";

/** Columns of the output (rows of the weights) in a task. */
const ROWS = 32;

/** Scratch memory that `matvec` needs for each thread, in bytes: for int8 weights, M rounded rows and their scales. */
export function matvecScratch(M: i32, K: i32): usize {
  return <usize>M * ((K + 31) >> 5) * (64 + 4);
}

/**
 * outs[i] (M,Ni) = or += x (M,K)·Wiᵀ. Arguments: x, the weights' type, M, K, accumulate, the number of weights, then for
 * each: out, W (N,K), its scales, N. For I8, each row of x is first rounded to int8 by groups of 32. Every thread does
 * this for itself: that is cheaper than rounding on one thread and a barrier.
 */
export function matvec(thread: i32): void {
  const x = pointer(0);
  const type = arg(1);
  const M = arg(2);
  const K = arg(3);
  const groups = (K + 31) >> 5;
  const codes = scratch(thread);
  const scales = codes + ((<usize>M * groups) << 6);
  if (type == I8) {
    for (let m = 0; m < M; m++) {
      const at = <usize>m * groups;
      quantise(x + ((<usize>m * K) << 2), codes + (at << 6), scales + (at << 2), K);
    }
  }
  let task = take();
  let before = 0;
  for (let i = 0; i < arg(5); i++) {
    const N = arg(4 * i + 9);
    const tasks = (N + ROWS - 1) / ROWS;
    for (; task < before + tasks; task = take()) {
      const from = (task - before) * ROWS;
      const end = min(N, from + ROWS);
      const out = pointer(4 * i + 6);
      const w = pointer(4 * i + 7);
      for (let m = 0; m < M; m++) {
        const at = <usize>m * groups;
        const to = out + ((<usize>m * N) << 2);
        if (type == I8) {
          int8Rows(to, codes + (at << 6), scales + (at << 2), w, pointer(4 * i + 8), from, end, K);
        } else {
          floatRows(to, x + ((<usize>m * K) << 2), w, type, from, end, K);
        }
      }
    }
    before += tasks;
  }
}

function floatRows(out: usize, x: usize, w: usize, type: i32, from: i32, end: i32, K: i32): void {
  for (let n = from; n < end; n++) {
    put(out, n, type == F32 ? dot(x, w + ((<usize>n * K) << 2), K) : dotHalf(x, w + ((<usize>n * K) << 1), K));
  }
}

/**
 * Processes four rows at a time, a quarter of the task apart: the processor's prefetcher follows four sequential
 * streams. With weights from beyond the L2 cache, four neighbouring rows of 512 bytes took 1.5 to 2.4 times as long;
 * neighbouring rows of 256 bytes took 4 % less.
 */
function int8Rows(
  out: usize,
  x: usize,
  xScales: usize,
  w: usize,
  wScales: usize,
  from: i32,
  end: i32,
  K: i32,
): void {
  const groups = (K + 31) >> 5;
  const quarter = (end - from) >> 2;
  for (let n = from; n < from + quarter; n++) {
    const y = fourDots(x, xScales, w + <usize>n * K, wScales + ((<usize>n * groups) << 2), quarter, K);
    put(out, n, f32x4.extract_lane(y, 0));
    put(out, n + quarter, f32x4.extract_lane(y, 1));
    put(out, n + 2 * quarter, f32x4.extract_lane(y, 2));
    put(out, n + 3 * quarter, f32x4.extract_lane(y, 3));
  }
  for (let n = from + 4 * quarter; n < end; n++) {
    put(out, n, dotInt8(x, xScales, w + <usize>n * K, wScales + ((<usize>n * groups) << 2), K));
  }
}

@inline function put(out: usize, n: i32, y: f32): void {
  const p = out + (<usize>n << 2);
  store<f32>(p, arg(4) ? load<f32>(p) + y : y);
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

/** A row's codes (int16, the operand type of dot products; 64 bytes a group, zero-filled) and scales (largest / 127). */
function quantise(x: usize, codes: usize, scales: usize, K: i32): void {
  const end = x + (<usize>K << 2);
  for (; x < end; x += 128, codes += 64, scales += 4) {
    let tops = f32x4.splat(0);
    for (let i: usize = 0; i < 128 && x + i < end; i += 16) tops = f32x4.max(tops, f32x4.abs(loadTo(x + i, end)));
    const top = largest(tops);
    store<f32>(scales, top / 127);
    const inverse = f32x4.splat(top > 0 ? 127 / top : 0);
    for (let i: usize = 0; i < 128; i += 32) {
      const low = x + i < end ? loadTo(x + i, end) : f32x4.splat(0);
      const high = x + i + 16 < end ? loadTo(x + i + 16, end) : f32x4.splat(0);
      v128.store(codes + (i >> 1), i16x8.narrow_i32x4_s(round(low, inverse), round(high, inverse)));
    }
  }
}

/** x·scale as the nearest integers, ties to even: adding 1.5·2^23 leaves them in the low bits. |x·scale| < 2^22. */
@inline function round(x: v128, scale: v128): v128 {
  const magic = f32x4.splat(12582912.0);
  return i32x4.sub(f32x4.add(f32x4.mul(x, scale), magic), magic);
}

/** 32 products of one group, in four sums. */
@inline function group(w: usize, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const a = i32x4.dot_i16x8_s(v128.load8x8_s(w), x0);
  const b = i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), x1);
  const c = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), x2);
  const d = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), x3);
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.add(a, b), i32x4.add(c, d)));
}

/**
 * Dot product with one row: Σ over groups of 32 of (Σ x·w as integers) · scale of x · scale of w. If 32 does not divide
 * K, the last group's codes of x end with zeros, whatever weights follow.
 */
function dotInt8(x: usize, xScales: usize, w: usize, wScales: usize, K: i32): f32 {
  let acc = f32x4.splat(0);
  for (let k = 0; k < K; k += 32, w += 32, x += 64, xScales += 4, wScales += 4) {
    const y = group(w, v128.load(x), v128.load(x, 16), v128.load(x, 32), v128.load(x, 48));
    acc = fma(y, f32x4.mul(v128.load32_splat(xScales), v128.load32_splat(wScales)), acc);
  }
  return f32x4.extract_lane(sums(acc, acc, acc, acc), 0);
}

/** Dot products with four rows, `step` rows apart: x is loaded once. Each has the same bits as {@link dotInt8}'s. */
function fourDots(x: usize, xScales: usize, w: usize, scale: usize, step: i32, K: i32): v128 {
  const groups = (K + 31) >> 5;
  let w0 = w;
  let w1 = w0 + <usize>step * K;
  let w2 = w1 + <usize>step * K;
  let w3 = w2 + <usize>step * K;
  const scaleStep = <usize>(step * groups) << 2;
  let acc0 = f32x4.splat(0);
  let acc1 = f32x4.splat(0);
  let acc2 = f32x4.splat(0);
  let acc3 = f32x4.splat(0);
  for (const end = x + (<usize>groups << 6); x < end; x += 64, xScales += 4, scale += 4) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    const x2 = v128.load(x, 32);
    const x3 = v128.load(x, 48);
    const xs = v128.load32_splat(xScales);
    const s1 = scale + scaleStep;
    const s2 = s1 + scaleStep;
    acc0 = fma(group(w0, x0, x1, x2, x3), f32x4.mul(xs, v128.load32_splat(scale)), acc0);
    acc1 = fma(group(w1, x0, x1, x2, x3), f32x4.mul(xs, v128.load32_splat(s1)), acc1);
    acc2 = fma(group(w2, x0, x1, x2, x3), f32x4.mul(xs, v128.load32_splat(s2)), acc2);
    acc3 = fma(group(w3, x0, x1, x2, x3), f32x4.mul(xs, v128.load32_splat(s2 + scaleStep)), acc3);
    w0 += 32;
    w1 += 32;
    w2 += 32;
    w3 += 32;
  }
  return sums(acc0, acc1, acc2, acc3);
}

/** The sum of each vector's lanes. */
@inline function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<i32>(a, b, 0, 4, 1, 5), v128.shuffle<i32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<i32>(c, d, 0, 4, 1, 5), v128.shuffle<i32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<i64>(ab, cd, 0, 2), v128.shuffle<i64>(ab, cd, 1, 3));
}
