// SwiGLU and GELU, forward and backward.
import { fma, loadTo, sigmoid, storeTo, tanh } from "./math";
import { arg, pointer, take } from "./parallel";

const CHUNK = 512;

/** out = silu(gate)·up. Arguments: out, gate, up, size. */
export function swiglu(): void {
  const size = arg(3);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = (<usize>min(size, from + CHUNK)) << 2;
    for (let at = (<usize>from) << 2; at < end; at += 16) {
      const g = loadTo(pointer(1) + at, pointer(1) + end);
      storeTo(
        pointer(0) + at,
        pointer(0) + end,
        f32x4.mul(f32x4.mul(g, sigmoid(g)), loadTo(pointer(2) + at, pointer(2) + end)),
      );
    }
  }
}

/** dUp = dOut·silu(g); dGate = dOut·up·(σ + g·σ·(1 − σ)). Arguments: dGate, dUp, dOut, gate, up, size. */
export function swigluBackward(): void {
  const size = arg(5);
  const one = f32x4.splat(1);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = (<usize>min(size, from + CHUNK)) << 2;
    for (let at = (<usize>from) << 2; at < end; at += 16) {
      const d = loadTo(pointer(2) + at, pointer(2) + end);
      const g = loadTo(pointer(3) + at, pointer(3) + end);
      const up = loadTo(pointer(4) + at, pointer(4) + end);
      const s = sigmoid(g);
      const silu = f32x4.mul(g, s);
      const slope = fma(silu, f32x4.sub(one, s), s);
      storeTo(pointer(0) + at, pointer(0) + end, f32x4.mul(f32x4.mul(d, up), slope));
      storeTo(pointer(1) + at, pointer(1) + end, f32x4.mul(d, silu));
    }
  }
}

// gelu(x) = x/2·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³)  (Hendrycks & Gimpel 2016)
const ROOT: f32 = 0.7978845608;
const CUBE: f32 = 0.044715;

/** Arguments: out, x, size. */
export function gelu(): void {
  const size = arg(2);
  const one = f32x4.splat(1);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = (<usize>min(size, from + CHUNK)) << 2;
    for (let at = (<usize>from) << 2; at < end; at += 16) {
      const x = loadTo(pointer(1) + at, pointer(1) + end);
      const x2 = f32x4.mul(x, x);
      const u = f32x4.mul(f32x4.mul(x, f32x4.splat(ROOT)), fma(x2, f32x4.splat(CUBE), one));
      storeTo(
        pointer(0) + at,
        pointer(0) + end,
        f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), f32x4.add(one, tanh(u))),
      );
    }
  }
}

/** dx = dOut·((1 + t)/2 + x/2·(1 − t²)·u′). Arguments: dx, dOut, x, size. */
export function geluBackward(): void {
  const size = arg(3);
  const one = f32x4.splat(1);
  const half = f32x4.splat(0.5);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = (<usize>min(size, from + CHUNK)) << 2;
    for (let at = (<usize>from) << 2; at < end; at += 16) {
      const x = loadTo(pointer(2) + at, pointer(2) + end);
      const x2 = f32x4.mul(x, x);
      const t = tanh(f32x4.mul(f32x4.mul(x, f32x4.splat(ROOT)), fma(x2, f32x4.splat(CUBE), one)));
      const slope = f32x4.mul(f32x4.splat(ROOT), fma(x2, f32x4.splat(3 * CUBE), one));
      const tail = f32x4.mul(f32x4.mul(f32x4.mul(x, half), f32x4.sub(one, f32x4.mul(t, t))), slope);
      const d = f32x4.add(f32x4.mul(half, f32x4.add(one, t)), tail);
      storeTo(pointer(0) + at, pointer(0) + end, f32x4.mul(loadTo(pointer(1) + at, pointer(1) + end), d));
    }
  }
}
