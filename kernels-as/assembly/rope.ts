import { arg, pointer, take } from "./parallel";

/** Rows of a task. */
const ROWS = 16;

/**
 * Rotates x (B·T, heads·D) in place; pairs are (i, i + D/2). Arguments: x, table (positions, D: D/2 cosines, D/2
 * sines), starts (i32 B, or 0 for none), rows B·T, T, heads, D, inverse.
 */
export function rope(): void {
  const starts = pointer(2);
  const rows = arg(3);
  const T = arg(4);
  const heads = arg(5);
  const D = arg(6);
  const inverse = arg(7);
  const half = (<usize>(D >> 1)) << 2;
  for (let from = take() * ROWS; from < rows; from = take() * ROWS) {
    const end = min(rows, from + ROWS);
    for (let r = from; r < end; r++) {
      const position = (r % T) + (starts ? load<i32>(starts + ((<usize>(r / T)) << 2)) : 0);
      const cosines = pointer(1) + ((<usize>position * D) << 2);
      const sines = cosines + half;
      let x = pointer(0) + ((<usize>r * heads * D) << 2);
      for (let h = 0; h < heads; h++, x += (<usize>D) << 2) {
        let i: usize = 0;
        for (; i + 16 <= half; i += 16) {
          const a = v128.load(x + i);
          const b = v128.load(x + half + i);
          const c = v128.load(cosines + i);
          let s = v128.load(sines + i);
          if (inverse) s = f32x4.neg(s);
          v128.store(x + i, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
          v128.store(x + half + i, f32x4.add(f32x4.mul(a, s), f32x4.mul(b, c)));
        }
        for (; i < half; i += 4) {
          const a = load<f32>(x + i);
          const b = load<f32>(x + half + i);
          const c = load<f32>(cosines + i);
          const s = inverse ? -load<f32>(sines + i) : load<f32>(sines + i);
          store<f32>(x + i, a * c - b * s);
          store<f32>(x + half + i, a * s + b * c);
        }
      }
    }
  }
}
