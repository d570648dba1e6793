/** Attention over sequences and over caches: shape checks and choice of kernels. */
import type { AttentionShape, Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { WORKGROUP } from "../device/kernel.ts";
import { BACKWARD_KEYS, BACKWARD_QUERIES } from "./attention-backward.ts";
import { DECODE, WRITE_CACHE } from "./attention-cached.ts";
import { FORWARD, FORWARD_CACHED } from "./attention-forward.ts";
import { ROWS } from "./attention-tiles.ts";

/** Up to this number of new rows in a sequence, each row has its own workgroup; more rows use tiles. */
const DECODE_ROWS = 8;

export function attention(
  device: WebgpuDevice,
  out: Tensor,
  lse: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  shape: AttentionShape,
): void {
  checkShapes(fits(shape, lse, q, k) && sameShape(out, q) && sameShape(k, v), "attention", out, lse, q, k, v);
  const { batch, length, heads, kvHeads, headDim: D } = shape;
  const pairs = batch * heads;
  const groups = Math.ceil(length / ROWS) * pairs;
  const params = { groups, pairs, length, context: length, heads, kvHeads };
  device.run(FORWARD, { out, lse, q, k, v }, params, groups, { D, ...widthFor(D, out, q, k, v) });
}

export function attentionBackward(
  device: WebgpuDevice,
  dq: Tensor,
  dk: Tensor,
  dv: Tensor,
  dOut: Tensor,
  out: Tensor,
  lse: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  shape: AttentionShape,
): void {
  const allFit = fits(shape, lse, q, k) && sameShape(dq, dOut, out, q) && sameShape(dk, dv, k, v);
  checkShapes(allFit, "attentionBackward", dq, dk, dv, q, k, v);
  const { batch, length, heads, kvHeads, headDim: D } = shape;
  const constants = { D, ...widthFor(D, dq, dk, dv, dOut, out, q, k, v) };
  const delta = device.scratch("attention-backward", lse.shape);
  const blocks = Math.ceil(length / ROWS);
  const sized = (pairs: number) => ({ groups: blocks * pairs, pairs, length, heads, kvHeads });
  const queries = sized(batch * heads);
  const keys = sized(batch * kvHeads);
  device.run(BACKWARD_QUERIES, { dq, delta, dOut, out, lse, q, k, v }, queries, queries.groups, constants);
  device.run(BACKWARD_KEYS, { dk, dv, dOut, lse, delta, q, k, v }, keys, keys.groups, constants);
}

function fits(
  { batch, length, heads, kvHeads, headDim }: AttentionShape,
  lse: Tensor,
  q: Tensor,
  k: Tensor,
): boolean {
  const rows = batch * length;
  return (
    q.size === rows * heads * headDim &&
    k.size === rows * kvHeads * headDim &&
    heads % kvHeads === 0 &&
    `${lse.shape}` === `${[batch * heads, length]}`
  );
}

export function writeCache(device: WebgpuDevice, cache: Tensor, x: Tensor, start: Tensor): void {
  const [B, context, C] = cache.shape;
  const T = x.size / (B * C);
  checkShapes(Number.isInteger(T) && T <= context && start.size === B, "writeCache", cache, x, start);
  const { W } = widthFor(C, cache, x);
  const [size, row] = [x.size / W, C / W];
  const params = { size, row, part: T * row, slot: context * row };
  device.run(WRITE_CACHE, { cache, x, start }, params, size / WORKGROUP, { W });
}

export function attentionCached(
  device: WebgpuDevice,
  out: Tensor,
  q: Tensor,
  kCache: Tensor,
  vCache: Tensor,
  start: Tensor,
  shape: AttentionShape,
): void {
  const { batch, length, heads, kvHeads, headDim: D } = shape;
  const [slots, context, C] = kCache.shape;
  const cacheFits = slots === batch && C === kvHeads * D && sameShape(kCache, vCache) && start.size === batch;
  const queriesFit = q.size === batch * length * heads * D && heads % kvHeads === 0 && sameShape(out, q);
  checkShapes(cacheFits && queriesFit, "attentionCached", out, q, kCache, vCache, start);
  const tensors = { out, q, k: kCache, v: vCache, start };
  const constants = { D, ...widthFor(D, out, q, kCache, vCache) };
  const params = { length, context, heads, kvHeads };
  if (length <= DECODE_ROWS) {
    const groups = batch * length * heads;
    device.run(DECODE, tensors, { ...params, groups }, groups, constants);
  } else {
    const pairs = batch * heads;
    const groups = Math.ceil(length / ROWS) * pairs;
    device.run(FORWARD_CACHED, tensors, { ...params, groups, pairs }, groups, constants);
  }
}
