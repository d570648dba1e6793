// Peak throughput of the machine, for `bench`: loops that only multiply, add and load.
import { READ_BLOCK } from "./layout";
import { fma } from "./math";
import { arg, barrier, pointer, real, take } from "./parallel";

/**
 * The compute roof: thirteen independent chains of multiply-adds in registers. (A multiply-add takes six or seven cycles
 * and an engine starts two a cycle; twelve chains measured 10 % less, fourteen spill.) Every thread runs all rounds, of
 * ROOF_ROUND_OPERATIONS each. Arguments: rounds, address for a result (4 bytes), two factors.
 */
export function roof(thread: i32): void {
  let total: f32 = 0;
  for (let i = 0; i < arg(0); i++) total += thousandRounds(real(2), real(3));
  if (thread == 0) store<f32>(pointer(1), total);
}

function thousandRounds(x: f32, y: f32): f32 {
  const a = f32x4.splat(x);
  const b = f32x4.splat(y);
  let c0 = a,
    c1 = b,
    c2 = a,
    c3 = b,
    c4 = a,
    c5 = b,
    c6 = a,
    c7 = b,
    c8 = a,
    c9 = b,
    c10 = a,
    c11 = b,
    c12 = a;
  let n = 1000;
  do {
    c0 = fma(c0, a, b);
    c1 = fma(c1, a, b);
    c2 = fma(c2, a, b);
    c3 = fma(c3, a, b);
    c4 = fma(c4, a, b);
    c5 = fma(c5, a, b);
    c6 = fma(c6, a, b);
    c7 = fma(c7, a, b);
    c8 = fma(c8, a, b);
    c9 = fma(c9, a, b);
    c10 = fma(c10, a, b);
    c11 = fma(c11, a, b);
    c12 = fma(c12, a, b);
  } while (--n);
  c0 = f32x4.add(
    f32x4.add(f32x4.add(c0, c1), f32x4.add(c2, c3)),
    f32x4.add(f32x4.add(c4, c5), f32x4.add(c6, c7)),
  );
  c8 = f32x4.add(f32x4.add(c8, c9), f32x4.add(f32x4.add(c10, c11), c12));
  return f32x4.extract_lane(f32x4.add(c0, c8), 0);
}

/**
 * Dot products of int8 rows of K with one int16 vector, in integers throughout: decoding without the scales.
 * Arguments: out (i32 N), x (int16 K), W (int8 N·K), N, K (a multiple of 32).
 */
export function bareDot(): void {
  const N = arg(3);
  const K = arg(4);
  for (let from = take() * 32; from < N; from = take() * 32) {
    for (let n = from; n < min(N, from + 32); n++) {
      let w = pointer(2) + <usize>n * K;
      let x = pointer(1);
      let acc = i32x4.splat(0);
      const end = w + K;
      for (; w < end; w += 32, x += 64) {
        const a = i32x4.dot_i16x8_s(v128.load8x8_s(w), v128.load(x));
        const b = i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), v128.load(x, 16));
        const c = i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), v128.load(x, 32));
        const d = i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), v128.load(x, 48));
        acc = i32x4.add(acc, i32x4.add(i32x4.add(a, b), i32x4.add(c, d)));
      }
      const total = i32x4.extract_lane(acc, 0) + i32x4.extract_lane(acc, 1) + i32x4.extract_lane(acc, 2);
      store<i32>(pointer(0) + ((<usize>n) << 2), total + i32x4.extract_lane(acc, 3));
    }
  }
}

/** Reads memory once. Arguments: address, bytes (a multiple of READ_BLOCK), address for a result (4 bytes). */
export function readBandwidth(thread: i32): void {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  const blocks = arg(1) / READ_BLOCK;
  for (let block = take(); block < blocks; block = take()) {
    let p = pointer(0) + <usize>block * READ_BLOCK;
    const end = p + READ_BLOCK;
    for (; p < end; p += 64) {
      a = v128.xor(a, v128.load(p));
      b = v128.xor(b, v128.load(p, 16));
      c = v128.xor(c, v128.load(p, 32));
      d = v128.xor(d, v128.load(p, 48));
    }
  }
  if (thread == 0) store<i32>(pointer(2), i32x4.extract_lane(v128.xor(v128.xor(a, b), v128.xor(c, d)), 0));
}
