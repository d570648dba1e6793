// Matrix products. B is packed once for all threads, into panels of 8 columns. Each task owns a block of C, packs the
// 6-row panels of A that it needs (each value four times: see microkernel.ts) and runs the microkernel over them.
// A panel of A (6 × KC) and one of B (KC × 8) stay in L1, the block of B in L2.
import { KC, MR, NR, PACK_INNER, PACK_VALUES } from "./layout";
import { widenHalf } from "./math";
import { microkernel } from "./microkernel.gen";
import { F32 } from "./ops";
import { activeThreads, arg, barrier, pointer, scratch, sharedScratch, take } from "./parallel";

/** Columns of B that a task covers: 512 · KC · 4 = 384 KiB of the L2 cache. */
const NC = 512;
/** A task has at most this many 6-row panels. */
const MAX_PANELS = 8;

/** Packs up to 6 rows of A. Missing rows repeat the last one, and their results are discarded. Strides are in bytes. */
function packA(to: usize, a: usize, rowStride: usize, kStride: usize, rows: i32, k: i32): void {
  const p0 = a;
  const p1 = rows > 1 ? p0 + rowStride : p0;
  const p2 = rows > 2 ? p1 + rowStride : p1;
  const p3 = rows > 3 ? p2 + rowStride : p2;
  const p4 = rows > 4 ? p3 + rowStride : p3;
  const p5 = rows > 5 ? p4 + rowStride : p4;
  const end = to + <usize>k * (MR * 16);
  let at: usize = 0;
  for (; to < end; to += MR * 16, at += kStride) {
    v128.store(to, v128.load32_splat(p0 + at));
    v128.store(to, v128.load32_splat(p1 + at), 16);
    v128.store(to, v128.load32_splat(p2 + at), 32);
    v128.store(to, v128.load32_splat(p3 + at), 48);
    v128.store(to, v128.load32_splat(p4 + at), 64);
    v128.store(to, v128.load32_splat(p5 + at), 80);
  }
}

/** Packs one panel of up to 8 columns of B, k long; missing columns are 0. B[k, c] is at b + k·kStride + c·columnStride. */
export function packB(to: usize, b: usize, kStride: usize, columnStride: usize, columns: i32, k: i32): void {
  if (columns == NR && columnStride == 4) {
    for (let i = 0; i < k; i++, b += kStride, to += NR * 4) {
      v128.store(to, v128.load(b));
      v128.store(to, v128.load(b, 16), 16);
    }
    return;
  }
  if (columns == NR && kStride == 4) {
    let i = 0;
    for (; i + 4 <= k; i += 4, b += 16, to += NR * 16) {
      transpose4(to, b, columnStride);
      transpose4(to + 16, b + 4 * columnStride, columnStride);
    }
    for (; i < k; i++, b += 4, to += NR * 4) {
      for (let c = 0; c < NR; c++) store<f32>(to + (<usize>c << 2), load<f32>(b + <usize>c * columnStride));
    }
    return;
  }
  for (let i = 0; i < k; i++, b += kStride, to += NR * 4) {
    for (let c = 0; c < NR; c++) {
      store<f32>(to + (<usize>c << 2), c < columns ? load<f32>(b + <usize>c * columnStride) : 0);
    }
  }
}

/** Four values of each of four columns become four rows of a panel, 32 bytes apart. */
@inline function transpose4(to: usize, b: usize, columnStride: usize): void {
  const x0 = v128.load(b);
  const x1 = v128.load(b + columnStride);
  const x2 = v128.load(b + 2 * columnStride);
  const x3 = v128.load(b + 3 * columnStride);
  const a = v128.shuffle<i32>(x0, x1, 0, 4, 1, 5);
  const c = v128.shuffle<i32>(x2, x3, 0, 4, 1, 5);
  const d = v128.shuffle<i32>(x0, x1, 2, 6, 3, 7);
  const e = v128.shuffle<i32>(x2, x3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(a, c, 0, 2));
  v128.store(to, v128.shuffle<i64>(a, c, 1, 3), 32);
  v128.store(to, v128.shuffle<i64>(d, e, 0, 2), 64);
  v128.store(to, v128.shuffle<i64>(d, e, 1, 3), 96);
}

/** Packs one panel of up to 8 rows of f16 weights, stored (columns, inner), k long; missing columns are 0. */
function packHalf(to: usize, b: usize, columnStride: usize, columns: i32, k: i32): void {
  for (let c = 0; c < NR; c++, to += 4, b += columnStride) {
    for (let i = 0; i < k; i++) {
      store<f32>(to + <usize>i * (NR * 4), c < columns ? halfAt(b + (<usize>i << 1)) : 0);
    }
  }
}

function halfAt(p: usize): f32 {
  return f32x4.extract_lane(widenHalf(p), 0);
}

/**
 * C (rows, columns) = or += A·packed B, on one thread. A[i, k] is at a + i·rowStride + k·kStride. B's panels, k long,
 * are `panelStride` bytes apart. `space` is scratch memory of PANEL_SCRATCH bytes.
 */
export function multiply(
  c: usize,
  ldc: usize,
  a: usize,
  rowStride: usize,
  kStride: usize,
  packed: usize,
  panelStride: usize,
  rows: i32,
  columns: i32,
  inner: i32,
  accumulate: bool,
  space: usize,
): void {
  const tile = space + KC * MR * 16;
  for (let from = 0; from < inner; from += KC) {
    const k = min(KC, inner - from);
    const add = accumulate || from > 0;
    for (let row = 0; row < rows; row += MR) {
      const height = min(MR, rows - row);
      packA(space, a + <usize>row * rowStride + <usize>from * kStride, rowStride, kStride, height, k);
      let bp = packed + <usize>from * (NR * 4);
      let to = c + <usize>row * ldc;
      for (let column = 0; column < columns; column += NR, bp += panelStride, to += NR * 4) {
        const width = min(NR, columns - column);
        if (height == MR && width == NR) {
          microkernel(space, bp, to, ldc, k, add);
        } else {
          microkernel(space, bp, tile, NR * 4, k, false);
          copyTile(to, ldc, tile, height, width, add);
        }
      }
    }
  }
}

function copyTile(to: usize, ldc: usize, tile: usize, height: i32, width: i32, add: bool): void {
  for (let i = 0; i < height; i++, to += ldc, tile += NR * 4) {
    for (let j = 0; j < width; j++) {
      const p = to + (<usize>j << 2);
      const x = load<f32>(tile + (<usize>j << 2));
      store<f32>(p, add ? load<f32>(p) + x : x);
    }
  }
}

/**
 * C (M,N) = or += A·B. Arguments: C, A, B, B's type (F32; or F16 with transB), M, N, K, then the flags transA, transB,
 * accumulate.
 */
export function gemm(thread: i32): void {
  const c = pointer(0);
  const a = pointer(1);
  const b = pointer(2);
  const type = arg(3);
  const M = arg(4);
  const N = arg(5);
  const K = arg(6);
  const transA = arg(7);
  const transB = arg(8);
  const accumulate = arg(9) != 0;
  const rowStride: usize = transA ? 4 : <usize>K << 2;
  const kStride: usize = transA ? <usize>M << 2 : 4;
  const bkStride: usize = transB ? 4 : <usize>N << 2;
  const bColumnStride: usize = transB ? <usize>K << 2 : 4;
  const packed = sharedScratch();
  const panelsOfA = (M + MR - 1) / MR;

  for (let from = 0; from < K; from += PACK_INNER) {
    const inner = min(PACK_INNER, K - from);
    const columnsAtOnce = min((N + NR - 1) & -NR, (PACK_VALUES / inner) & -NR);
    const panelStride = <usize>inner * (NR * 4);
    for (let column = 0; column < N; column += columnsAtOnce) {
      const columns = min(columnsAtOnce, N - column);
      const panels = (columns + NR - 1) / NR;
      for (let p = take(); p < panels; p = take()) {
        const first = column + p * NR;
        const to = packed + <usize>p * panelStride;
        const count = min(NR, N - first);
        if (type == F32) {
          packB(to, b + <usize>from * bkStride + <usize>first * bColumnStride, bkStride, bColumnStride, count, inner);
        } else {
          packHalf(to, b + ((<usize>first * K + from) << 1), <usize>K << 1, count, inner);
        }
      }
      barrier(thread);

      const across = (columns + NC - 1) / NC;
      const perTask = max(1, min(MAX_PANELS, (panelsOfA * across) / (activeThreads() * 8)));
      const down = (panelsOfA + perTask - 1) / perTask;
      for (let task = take(); task < down * across; task = take()) {
        const row = (task / across) * perTask * MR;
        const start = (task % across) * NC;
        multiply(
          c + (<usize>row * N + column + start) * 4,
          <usize>N << 2,
          a + <usize>row * rowStride + <usize>from * kStride,
          rowStride,
          kStride,
          packed + <usize>(start / NR) * panelStride,
          panelStride,
          min(perTask * MR, M - row),
          min(NC, columns - start),
          inner,
          accumulate || from > 0,
          scratch(thread),
        );
      }
      barrier(thread);
    }
  }
}
