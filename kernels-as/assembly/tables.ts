// Tables with a row for each token: lookup and its backward, and the top-k of sparse recipes.
import { storeTo, widenHalf } from "./math";
import { F16, F32 } from "./ops";
import { arg, pointer, take } from "./parallel";

const ROWS = 16;
const COLUMNS = 32;

/** out (M,C) = table[ids]. Arguments: out, table, its scales, its type, ids, M, C. */
export function gather(): void {
  const type = arg(3);
  const M = arg(5);
  const C = arg(6);
  for (let from = take() * ROWS; from < M; from = take() * ROWS) {
    const end = min(M, from + ROWS);
    for (let i = from; i < end; i++) {
      const id = <usize>load<u32>(pointer(4) + ((<usize>i) << 2));
      const out = pointer(0) + ((<usize>i * C) << 2);
      if (type == F32) memory.copy(out, pointer(1) + ((id * C) << 2), (<usize>C) << 2);
      else if (type == F16) widenRow(out, pointer(1) + ((id * C) << 1), C);
      else scaleRow(out, pointer(1) + id * C, pointer(2) + ((id * ((C + 31) >> 5)) << 2), C);
    }
  }
}

function widenRow(out: usize, row: usize, C: i32): void {
  const end = out + ((<usize>C) << 2);
  // The last load may read past the end of the row: every tensor is followed by padding.
  for (; out < end; out += 16, row += 8) storeTo(out, end, widenHalf(row));
}

function scaleRow(out: usize, row: usize, scales: usize, C: i32): void {
  for (let i = 0; i < C; i++) {
    store<f32>(
      out + ((<usize>i) << 2),
      load<f32>(scales + ((<usize>(i >> 5)) << 2)) * <f32>load<i8>(row + i),
    );
  }
}

/**
 * dTable[ids] += dOut (M,C). Arguments: dTable, ids, dOut, M, C. A task is a number of columns of all rows, so that
 * repeated ids are added in order of position.
 */
export function scatterAdd(): void {
  const M = arg(3);
  const C = arg(4);
  for (let column = take() * COLUMNS; column < C; column = take() * COLUMNS) {
    const count = (<usize>min(COLUMNS, C - column)) << 2;
    const ids = pointer(1);
    for (let i = 0; i < M; i++) {
      const id = <usize>load<u32>(ids + ((<usize>i) << 2));
      let to = pointer(0) + ((id * C + column) << 2);
      let from = pointer(2) + ((<usize>i * C + column) << 2);
      const end = to + count;
      for (; to + 16 <= end; to += 16, from += 16) v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
      for (; to < end; to += 4, from += 4) store<f32>(to, load<f32>(to) + load<f32>(from));
    }
  }
}

/** Number of values of the row that are greater than `bits` as integers: positive floats sort as their bits do. */
function countAbove(row: usize, C: i32, bits: i32): i32 {
  let counts = i32x4.splat(0);
  const bound = i32x4.splat(bits);
  let i = 0;
  for (; i + 4 <= C; i += 4)
    counts = i32x4.sub(counts, i32x4.gt_s(v128.load(row + ((<usize>i) << 2)), bound));
  let count =
    i32x4.extract_lane(counts, 0) +
    i32x4.extract_lane(counts, 1) +
    i32x4.extract_lane(counts, 2) +
    i32x4.extract_lane(counts, 3);
  for (; i < C; i++) count += i32(load<i32>(row + ((<usize>i) << 2)) > bits);
  return count;
}

/**
 * out = the k largest of relu(x) in each row (V,C), the rest 0. Arguments: out, x, V, C, k. Bisects on the bits of the
 * smallest value kept, the largest bound that at least k values reach. Among equal values the first are kept.
 */
export function topk(): void {
  const V = arg(2);
  const C = arg(3);
  const k = arg(4);
  for (let from = take() * ROWS; from < V; from = take() * ROWS) {
    const end = min(V, from + ROWS);
    for (let r = from; r < end; r++) {
      const x = pointer(1) + ((<usize>r * C) << 2);
      const out = pointer(0) + ((<usize>r * C) << 2);
      let bound = 0;
      // With at most k positive values all of them are kept: the bound stays 0.
      if (countAbove(x, C, 0) > k) {
        for (let bit = 1 << 30; bit != 0; bit >>= 1) {
          if (countAbove(x, C, (bound | bit) - 1) >= k) bound |= bit;
        }
      }
      let equals = bound == 0 ? 0 : k - countAbove(x, C, bound);
      for (let i = 0; i < C; i++) {
        const bits = load<i32>(x + ((<usize>i) << 2));
        let keep = bits > bound;
        if (bits == bound && equals > 0) {
          keep = true;
          equals--;
        }
        store<i32>(out + ((<usize>i) << 2), keep ? bits : 0);
      }
    }
  }
}

const CHUNK = 8192;

/** dx = dOut where out > 0, else 0. Arguments: dx, dOut, out, size. */
export function topkBackward(): void {
  const size = arg(3);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const end = min(size, from + CHUNK);
    for (let i = from; i < end; i++) {
      const at = (<usize>i) << 2;
      store<f32>(pointer(0) + at, load<f32>(pointer(2) + at) > 0 ? load<f32>(pointer(1) + at) : 0);
    }
  }
}
