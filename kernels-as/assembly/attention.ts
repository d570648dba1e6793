// Causal attention. A task is one (sequence, key/value head) pair. Scores exist for BLOCK query rows at a time, and only
// up to the diagonal's block. All products run through the packed GEMM of gemm.ts, in the thread's scratch memory.
import { multiply, packB } from "./gemm";
import { NR, PANEL_SCRATCH } from "./layout";
import { dot, exp, exp1, fma, largest, sum } from "./math";
import { arg, pointer, scratch, take } from "./parallel";

/** Query rows of a block: eight 6-row panels, so that no tile is partial. 64 rows were 4 % slower. */
const BLOCK = 48;

function packedBytes(inner: i32, columns: i32): usize {
  return <usize>inner * ((columns + NR - 1) & -NR) * 4;
}

/** Bytes of one block of scores, (BLOCK, T). */
function scoreBytes(T: i32): usize {
  return (<usize>(BLOCK * T)) << 2;
}

/** Scratch memory that `attention` needs for each thread, in bytes: a panel of A, K packed, V packed, scores. */
export function attentionScratch(T: i32, D: i32): usize {
  return PANEL_SCRATCH + packedBytes(D, T) + packedBytes(T, D) + scoreBytes(T);
}

/**
 * Scratch memory that `attentionBackward` needs for each thread, in bytes: a panel of A, K packed in both directions,
 * V packed, a block of probabilities and one of their gradients, and one block each of Q and dO, packed.
 */
export function attentionBackwardScratch(T: i32, D: i32): usize {
  return (
    PANEL_SCRATCH + 2 * packedBytes(D, T) + packedBytes(T, D) + 2 * scoreBytes(T) + 2 * packedBytes(BLOCK, D)
  );
}

/** Scratch memory that `attentionCached` needs for each thread, in bytes: scores, then a log-sum-exp. */
export function attentionCachedScratch(context: i32): usize {
  return (<usize>(context + 1)) << 2;
}

/** Packs B (inner, columns), whose element (k, c) is at b + k·kStride + c·columnStride, into panels. */
function packAll(to: usize, b: usize, kStride: usize, columnStride: usize, inner: i32, columns: i32): void {
  for (let c = 0; c < columns; c += NR, to += <usize>inner * (NR * 4)) {
    packB(to, b + <usize>c * columnStride, kStride, columnStride, min(NR, columns - c), inner);
  }
}

/**
 * out = softmax(q·kᵀ/√D)·v. Arguments: out, lse, q, k, v, B, T, heads, kvHeads, D; tensors as in the contract.
 */
export function attention(thread: i32): void {
  const B = arg(5);
  const T = arg(6);
  const H = arg(7);
  const KV = arg(8);
  const D = arg(9);
  const group = H / KV;
  const qRow = (<usize>(H * D)) << 2;
  const kvRow = (<usize>(KV * D)) << 2;
  const space = scratch(thread);
  const keys = space + PANEL_SCRATCH;
  const values = keys + packedBytes(D, T);
  const scores = values + packedBytes(T, D);
  const ld = (<usize>T) << 2;

  for (let task = take(); task < B * KV; task = take()) {
    const b = task / KV;
    const kv = task % KV;
    const head = <usize>b * T * kvRow + ((<usize>(kv * D)) << 2);
    packAll(keys, pointer(3) + head, 4, kvRow, D, T);
    packAll(values, pointer(4) + head, kvRow, 4, T, D);
    for (let h = kv * group; h < (kv + 1) * group; h++) {
      const q = pointer(2) + <usize>b * T * qRow + ((<usize>(h * D)) << 2);
      const out = pointer(0) + <usize>b * T * qRow + ((<usize>(h * D)) << 2);
      const lse = pointer(1) + ((<usize>((b * H + h) * T)) << 2);
      for (let from = 0; from < T; from += BLOCK) {
        const rows = min(BLOCK, T - from);
        const visible = from + rows;
        multiply(
          scores,
          ld,
          q + <usize>from * qRow,
          qRow,
          4,
          keys,
          D * NR * 4,
          rows,
          visible,
          D,
          false,
          space,
        );
        for (let r = 0; r < rows; r++) {
          softmaxRow(scores + <usize>r * ld, from + r + 1, visible, D, lse + ((<usize>(from + r)) << 2));
        }
        multiply(
          out + <usize>from * qRow,
          qRow,
          scores,
          ld,
          4,
          values,
          T * NR * 4,
          rows,
          D,
          visible,
          false,
          space,
        );
      }
    }
  }
}

/** In place: softmax of the first `count` scores divided by √D, then 0 up to `width`. `lse` receives the log-sum-exp. */
function softmaxRow(row: usize, count: i32, width: i32, D: i32, lse: usize): void {
  const factor: f32 = 1 / sqrt<f32>(<f32>D);
  const end = row + ((<usize>count) << 2);
  const whole = row + ((<usize>(count & ~3)) << 2);
  let tops = f32x4.splat(-Infinity);
  for (let p = row; p < whole; p += 16) tops = f32x4.pmax(tops, v128.load(p));
  let top = largest(tops);
  for (let p = whole; p < end; p += 4) top = max(top, load<f32>(p));
  const factors = f32x4.splat(factor);
  const shift = f32x4.splat(-top * factor);
  let acc = f32x4.splat(0);
  for (let p = row; p < whole; p += 16) {
    const e = exp(fma(v128.load(p), factors, shift));
    v128.store(p, e);
    acc = f32x4.add(acc, e);
  }
  let total = sum(acc);
  for (let p = whole; p < end; p += 4) {
    const e = exp1((load<f32>(p) - top) * factor);
    store<f32>(p, e);
    total += e;
  }
  store<f32>(lse, top * factor + <f32>Math.log(total));
  const inverse = f32x4.splat(1 / total);
  for (let p = row; p < whole; p += 16) v128.store(p, f32x4.mul(v128.load(p), inverse));
  for (let p = whole; p < end; p += 4) store<f32>(p, load<f32>(p) / total);
  for (let p = end; p < row + ((<usize>width) << 2); p += 4) store<f32>(p, 0);
}

/**
 * With P = exp(S − lse), dP = dO·vᵀ, δ = rowsum(dO∘O) and dS = P∘(dP − δ)/√D: dv = Pᵀ·dO, dq = dS·k, dk = dSᵀ·q
 * (Dao et al. 2022, algorithm 4). Arguments: dq, dk, dv, dOut, out, lse, q, k, v, B, T, heads, kvHeads, D.
 */
export function attentionBackward(thread: i32): void {
  const B = arg(9);
  const T = arg(10);
  const H = arg(11);
  const KV = arg(12);
  const D = arg(13);
  const group = H / KV;
  const qRow = (<usize>(H * D)) << 2;
  const kvRow = (<usize>(KV * D)) << 2;
  const ld = (<usize>T) << 2;
  const space = scratch(thread);
  const keysAcross = space + PANEL_SCRATCH;
  const keysDown = keysAcross + packedBytes(D, T);
  const values = keysDown + packedBytes(T, D);
  const probabilities = values + packedBytes(D, T);
  const gradients = probabilities + scoreBytes(T);
  const blockQ = gradients + scoreBytes(T);
  const blockO = blockQ + packedBytes(BLOCK, D);

  for (let task = take(); task < B * KV; task = take()) {
    const b = task / KV;
    const kv = task % KV;
    const head = <usize>b * T * kvRow + ((<usize>(kv * D)) << 2);
    const dk = pointer(1) + head;
    const dv = pointer(2) + head;
    packAll(keysAcross, pointer(7) + head, 4, kvRow, D, T);
    packAll(keysDown, pointer(7) + head, kvRow, 4, T, D);
    packAll(values, pointer(8) + head, 4, kvRow, D, T);
    for (let r = 0; r < T; r++) {
      memory.fill(dk + <usize>r * kvRow, 0, D << 2);
      memory.fill(dv + <usize>r * kvRow, 0, D << 2);
    }
    for (let h = kv * group; h < (kv + 1) * group; h++) {
      const at = <usize>b * T * qRow + ((<usize>(h * D)) << 2);
      const lse = pointer(5) + ((<usize>((b * H + h) * T)) << 2);
      for (let from = 0; from < T; from += BLOCK) {
        const rows = min(BLOCK, T - from);
        const visible = from + rows;
        const first = at + <usize>from * qRow;
        const q = pointer(6) + first;
        const dOut = pointer(3) + first;
        multiply(probabilities, ld, q, qRow, 4, keysAcross, D * NR * 4, rows, visible, D, false, space);
        multiply(gradients, ld, dOut, qRow, 4, values, D * NR * 4, rows, visible, D, false, space);
        for (let r = 0; r < rows; r++) {
          const delta = dot(dOut + <usize>r * qRow, pointer(4) + first + <usize>r * qRow, D);
          const row = <usize>r * ld;
          scoreGradients(
            probabilities + row,
            gradients + row,
            from + r + 1,
            visible,
            D,
            load<f32>(lse + ((<usize>(from + r)) << 2)),
            delta,
          );
        }
        multiply(
          pointer(0) + first,
          qRow,
          gradients,
          ld,
          4,
          keysDown,
          T * NR * 4,
          rows,
          D,
          visible,
          false,
          space,
        );
        packAll(blockQ, q, qRow, 4, rows, D);
        packAll(blockO, dOut, qRow, 4, rows, D);
        // A's rows are the block's columns, from the transposed side: row stride 4, inner stride ld.
        multiply(dk, kvRow, gradients, 4, ld, blockQ, rows * NR * 4, visible, D, rows, true, space);
        multiply(dv, kvRow, probabilities, 4, ld, blockO, rows * NR * 4, visible, D, rows, true, space);
      }
    }
  }
}

/** In place: scores become P, and dP becomes dS = P∘(dP − δ)/√D. Both are 0 from `count` up to `width`. */
function scoreGradients(
  scores: usize,
  gradients: usize,
  count: i32,
  width: i32,
  D: i32,
  lse: f32,
  delta: f32,
): void {
  const factor: f32 = 1 / sqrt<f32>(<f32>D);
  const factors = f32x4.splat(factor);
  const shift = f32x4.splat(-lse);
  const deltas = f32x4.splat(delta);
  const end = (<usize>count) << 2;
  let at: usize = 0;
  for (; at + 16 <= end; at += 16) {
    const p = exp(fma(v128.load(scores + at), factors, shift));
    v128.store(scores + at, p);
    const d = f32x4.sub(v128.load(gradients + at), deltas);
    v128.store(gradients + at, f32x4.mul(f32x4.mul(p, d), factors));
  }
  for (; at < end; at += 4) {
    const p = exp1(load<f32>(scores + at) * factor - lse);
    store<f32>(scores + at, p);
    store<f32>(gradients + at, p * (load<f32>(gradients + at) - delta) * factor);
  }
  for (; at < (<usize>width) << 2; at += 4) {
    store<f32>(scores + at, 0);
    store<f32>(gradients + at, 0);
  }
}

/** cache (B, context, C) [b, start[b] + t] = x (B·T, C). Arguments: cache, x, start, B, T, C, context. */
export function writeCache(): void {
  const B = arg(3);
  const T = arg(4);
  const bytes = (<usize>arg(5)) << 2;
  const context = arg(6);
  for (let b = take(); b < B; b = take()) {
    const position = load<i32>(pointer(2) + ((<usize>b) << 2));
    memory.copy(
      pointer(0) + <usize>(b * context + position) * bytes,
      pointer(1) + <usize>(b * T) * bytes,
      <usize>T * bytes,
    );
  }
}

/**
 * Row t of sequence b sees cached positions 0 … start[b] + t. A task is one head of one row.
 * Arguments: out, q, kCache, vCache, start, B, T, heads, kvHeads, D, context.
 */
export function attentionCached(thread: i32): void {
  const B = arg(5);
  const T = arg(6);
  const H = arg(7);
  const KV = arg(8);
  const D = arg(9);
  const context = arg(10);
  const row = (<usize>(KV * D)) << 2;
  const scores = scratch(thread);
  for (let task = take(); task < B * T * H; task = take()) {
    const h = task % H;
    const r = task / H;
    const b = r / T;
    const count = load<i32>(pointer(4) + ((<usize>b) << 2)) + (r % T) + 1;
    const q = pointer(1) + ((<usize>(r * H + h) * D) << 2);
    const out = pointer(0) + ((<usize>(r * H + h) * D) << 2);
    const head = <usize>(b * context) * row + ((<usize>(((h * KV) / H) * D)) << 2);
    let k = pointer(2) + head;
    for (let i = 0; i < count; i++, k += row) store<f32>(scores + ((<usize>i) << 2), dot(q, k, D));
    // The log-sum-exp is written after the scores and not used.
    softmaxRow(scores, count, count, D, scores + ((<usize>count) << 2));
    weightedSum(out, scores, pointer(3) + head, row, count, D);
  }
}

/** out (D) = Σ_i weights[i]·v[i], with rows of v `stride` bytes apart. */
function weightedSum(out: usize, weights: usize, v: usize, stride: usize, count: i32, D: i32): void {
  let at: usize = 0;
  const bytes = (<usize>D) << 2;
  for (; at + 32 <= bytes; at += 32) {
    let low = f32x4.splat(0);
    let high = f32x4.splat(0);
    let p = v + at;
    for (let i = 0; i < count; i++, p += stride) {
      const w = v128.load32_splat(weights + ((<usize>i) << 2));
      low = fma(w, v128.load(p), low);
      high = fma(w, v128.load(p, 16), high);
    }
    v128.store(out + at, low);
    v128.store(out + at, high, 16);
  }
  for (; at < bytes; at += 4) {
    let total: f32 = 0;
    for (let i = 0; i < count; i++)
      total += load<f32>(weights + ((<usize>i) << 2)) * load<f32>(v + <usize>i * stride + at);
    store<f32>(out + at, total);
  }
}
