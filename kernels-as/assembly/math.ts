// Vector arithmetic for which WebAssembly has no instruction.

/** a·b + c: fused if the build is relaxed and the engine fuses, otherwise with two roundings. */
@inline export function fma(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

@inline export function sum(x: v128): f32 {
  return (
    f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1) + (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3))
  );
}

@inline export function largest(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

/**
 * e^x within 2 ulp for x in [-87.3, 88.7], clamped outside; NaN stays NaN. x = n·ln 2 + r with |r| <= ln 2 / 2: n comes
 * from adding 1.5·2^23, whose sum holds n in its low bits, e^r from its Taylor polynomial of degree 7, and 2^n from the
 * exponent bits.
 */
@inline export function exp(x: v128): v128 {
  const magic = f32x4.splat(12582912.0);
  const y = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87.3)), f32x4.splat(88.7));
  const t = fma(y, f32x4.splat(1.44269504), magic);
  const n = f32x4.sub(t, magic);
  // ln 2 in two parts: the first has few bits, so that n times it is exact.
  let r = f32x4.sub(y, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = fma(r, f32x4.splat(1.0 / 5040.0), f32x4.splat(1.0 / 720.0));
  p = fma(p, r, f32x4.splat(1.0 / 120.0));
  p = fma(p, r, f32x4.splat(1.0 / 24.0));
  p = fma(p, r, f32x4.splat(1.0 / 6.0));
  p = fma(p, r, f32x4.splat(0.5));
  p = fma(p, r, f32x4.splat(1.0));
  p = fma(p, r, f32x4.splat(1.0));
  // 2^(n-1), then doubled: 2^128 is not a float. Multiplying keeps NaN, which adding to the exponent bits would not.
  const half = i32x4.add(i32x4.shl(t, 23), i32x4.splat(126 << 23));
  return f32x4.mul(f32x4.mul(p, half), f32x4.splat(2.0));
}

/** Scalar version of {@link exp}. */
@inline export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x)), 0);
}

/** 1 / (1 + e^-x) */
@inline export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp(f32x4.neg(x))));
}

/** tanh x = 1 - 2 / (e^2x + 1); absolute error about 1e-7 */
@inline export function tanh(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exp(f32x4.add(x, x));
  return f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(e, one)));
}

/** Loads four binary16 values and widens them to f32. Infinities and NaN become large numbers: weights contain none. */
@inline export function widenHalf(p: usize): v128 {
  const h = v128.load16x4_u(p);
  const sign = i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16);
  // Placing exponent and mantissa at f32's position scales by 2^-112; the product undoes that, also for subnormals.
  const magnitude = f32x4.mul(i32x4.shl(v128.and(h, i32x4.splat(0x7fff)), 13), f32x4.splat(5.192296858534828e33));
  return v128.or(sign, magnitude);
}

/** Loads 16 bytes, or the bytes left before `end` and zeros: loops need no second body for their tails. */
@inline export function loadTo(p: usize, end: usize): v128 {
  return p + 16 <= end ? v128.load(p) : loadPart(p, end);
}
function loadPart(p: usize, end: usize): v128 {
  let x = v128.load32_zero(p);
  if (p + 4 < end) x = f32x4.replace_lane(x, 1, load<f32>(p, 4));
  if (p + 8 < end) x = f32x4.replace_lane(x, 2, load<f32>(p, 8));
  return x;
}
/** Stores 16 bytes, or only those that fit before `end`. */
@inline export function storeTo(p: usize, end: usize, x: v128): void {
  if (p + 16 <= end) v128.store(p, x);
  else storePart(p, end, x);
}
function storePart(p: usize, end: usize, x: v128): void {
  store<f32>(p, f32x4.extract_lane(x, 0));
  if (p + 4 < end) store<f32>(p, f32x4.extract_lane(x, 1), 4);
  if (p + 8 < end) store<f32>(p, f32x4.extract_lane(x, 2), 8);
}

/** Σ a·b over `count` values, in four accumulators: a single one would wait for its sum, three cycles a step. */
export function dot(a: usize, b: usize, count: i32): f32 {
  let sum0 = f32x4.splat(0);
  let sum1 = f32x4.splat(0);
  let sum2 = f32x4.splat(0);
  let sum3 = f32x4.splat(0);
  const end = a + (<usize>count << 2);
  for (; a + 64 <= end; a += 64, b += 64) {
    sum0 = fma(v128.load(a), v128.load(b), sum0);
    sum1 = fma(v128.load(a, 16), v128.load(b, 16), sum1);
    sum2 = fma(v128.load(a, 32), v128.load(b, 32), sum2);
    sum3 = fma(v128.load(a, 48), v128.load(b, 48), sum3);
  }
  let total = sum(f32x4.add(f32x4.add(sum0, sum1), f32x4.add(sum2, sum3)));
  for (; a < end; a += 4, b += 4) total += load<f32>(a) * load<f32>(b);
  return total;
}
