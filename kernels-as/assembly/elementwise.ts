// Ops on whole tensors. A task is a few thousand values.
import { arg, pointer, real, take } from "./parallel";

const CHUNK = 8192;

/** out = a + b. Arguments: out, a, b, size. */
export function add(): void {
  const size = arg(3);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const count = min(CHUNK, size - from);
    const out = pointer(0) + ((<usize>from) << 2);
    const a = pointer(1) + ((<usize>from) << 2);
    const b = pointer(2) + ((<usize>from) << 2);
    addRow(out, a, b, count);
  }
}

/** out = a + b for `count` values; out may be a or b. */
export function addRow(out: usize, a: usize, b: usize, count: i32): void {
  const end = out + ((<usize>count) << 2);
  for (; out + 16 <= end; out += 16, a += 16, b += 16) {
    v128.store(out, f32x4.add(v128.load(a), v128.load(b)));
  }
  for (; out < end; out += 4, a += 4, b += 4) store<f32>(out, load<f32>(a) + load<f32>(b));
}

/** x (rows, C) += b (C). Arguments: x, b, rows, C. A task is a number of whole rows. */
export function addBroadcast(): void {
  const rows = arg(2);
  const C = arg(3);
  const perTask = max(1, CHUNK / C);
  for (let row = take() * perTask; row < rows; row = take() * perTask) {
    const end = min(rows, row + perTask);
    for (let r = row; r < end; r++) {
      const x = pointer(0) + ((<usize>r * C) << 2);
      addRow(x, x, pointer(1), C);
    }
  }
}

const COLUMNS = 64;

/** db (C) += column sums of dx (rows, C). Arguments: db, dx, rows, C. A task is a number of columns. */
export function sumBroadcast(): void {
  const rows = arg(2);
  const C = arg(3);
  for (let column = take() * COLUMNS; column < C; column = take() * COLUMNS) {
    const count = min(COLUMNS, C - column);
    const db = pointer(0) + ((<usize>column) << 2);
    let dx = pointer(1) + ((<usize>column) << 2);
    for (let r = 0; r < rows; r++, dx += (<usize>C) << 2) addRow(db, db, dx, count);
  }
}

/** x = value. Arguments: x, size, value. */
export function fill(): void {
  const size = arg(1);
  const value = f32x4.splat(real(2));
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    let x = pointer(0) + ((<usize>from) << 2);
    const end = x + ((<usize>min(CHUNK, size - from)) << 2);
    for (; x + 16 <= end; x += 16) v128.store(x, value);
    for (; x < end; x += 4) store<f32>(x, real(2));
  }
}

/** out = x. Arguments: out, x, size; 4-byte elements. */
export function copy(): void {
  const size = arg(2);
  for (let from = take() * CHUNK; from < size; from = take() * CHUNK) {
    const at = (<usize>from) << 2;
    memory.copy(pointer(0) + at, pointer(1) + at, (<usize>min(CHUNK, size - from)) << 2);
  }
}
