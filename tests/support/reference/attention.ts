import type { AttentionShape, RopeOptions, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { check, distinct, expectShape, float, int, sameShape } from "./tensor.ts";

export function rope(x: Tensor, table: Tensor, options: RopeOptions): void {
  const { length: T, heads, headDim: D, inverse = false, start } = options;
  check(D % 2 === 0, `rope: headDim ${D} is odd`);
  check(x.shape[0] % T === 0, `rope: ${x.shape[0]} rows are not sequences of ${T}`);
  const B = x.shape[0] / T;
  expectShape(x, [B * T, heads * D], "rope x");
  expectShape(table, [table.shape[0], D], "rope table");
  if (start) expectShape(start, [B], "rope start");
  distinct(x, table);
  const [values, turns, half] = [float(x), float(table), D / 2];
  for (let m = 0; m < B * T; m++) {
    const position = (m % T) + (start ? int(start)[Math.floor(m / T)] : 0);
    check(position >= 0 && position < table.shape[0], `rope: position ${position} of ${table.shape[0]}`);
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < half; i++) {
        const cos = turns[position * D + i];
        const sin = turns[position * D + half + i] * (inverse ? -1 : 1);
        const at = (m * heads + h) * D + i;
        const [a, b] = [values[at], values[at + half]];
        values[at] = a * cos - b * sin;
        values[at + half] = a * sin + b * cos;
      }
    }
  }
}

/** Attends from one query row to the keys and values it sees; returns softmax weights and log-sum-exp. */
function attendRow(q: Float64Array, keys: Float64Array[], values: Float64Array[]) {
  const scores = keys.map((k) => dot(q, k) / Math.sqrt(q.length));
  const most = scores.reduce((a, b) => Math.max(a, b));
  const lse = most + Math.log(scores.reduce((sum, s) => sum + Math.exp(s - most), 0));
  const weights = scores.map((s) => Math.exp(s - lse));
  const out = q.map((_, i) => weights.reduce((sum, w, s) => sum + w * values[s][i], 0));
  return { out, lse };
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i], 0);

/** The D values of row `m`, head `h` of x (rows, heads·D); not a copy. */
const headRow = (x: Float64Array, m: number, h: number, heads: number, D: number): Float64Array =>
  x.subarray((m * heads + h) * D, (m * heads + h + 1) * D);

function checkAttention(shape: AttentionShape, queries: Tensor[], keys: Tensor[], lse: Tensor): void {
  const { batch: B, length: T, heads: H, kvHeads: K, headDim: D } = shape;
  check(H % K === 0, `attention: ${K} key heads do not divide ${H} heads`);
  for (const x of queries) expectShape(x, [B * T, H * D], "attention queries");
  for (const x of keys) expectShape(x, [B * T, K * D], "attention keys or values");
  expectShape(lse, [B * H, T], "attention lse");
}

export function attention(
  out: Tensor,
  lse: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  shape: AttentionShape,
): void {
  const { batch: B, length: T, heads: H, kvHeads: K, headDim: D } = shape;
  checkAttention(shape, [q, out], [k, v], lse);
  distinct(out, lse, q, k, v);
  distinct(lse, q, k, v);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const group = Math.floor((h * K) / H);
      const keys = Array.from({ length: T }, (_, s) => headRow(float(k), b * T + s, group, K, D));
      const values = Array.from({ length: T }, (_, s) => headRow(float(v), b * T + s, group, K, D));
      for (let t = 0; t < T; t++) {
        const query = headRow(float(q), b * T + t, h, H, D);
        const row = attendRow(query, keys.slice(0, t + 1), values.slice(0, t + 1));
        headRow(float(out), b * T + t, h, H, D).set(row.out);
        float(lse)[(b * H + h) * T + t] = row.lse;
      }
    }
  }
}

export function attentionBackward(
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
  const { batch: B, length: T, heads: H, kvHeads: K, headDim: D } = shape;
  checkAttention(shape, [dq, dOut, out, q], [dk, dv, k, v], lse);
  for (const gradient of [dq, dk, dv]) distinct(gradient, dOut, out, lse, q, k, v);
  for (const gradient of [dq, dk, dv]) float(gradient).fill(0);
  const scale = 1 / Math.sqrt(D);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const group = Math.floor((h * K) / H);
      const ofQuery = (x: Tensor, t: number) => headRow(float(x), b * T + t, h, H, D);
      const ofKey = (x: Tensor, s: number) => headRow(float(x), b * T + s, group, K, D);
      for (let t = 0; t < T; t++) {
        const [d, query, dQuery] = [dOut, q, dq].map((x) => ofQuery(x, t));
        const along = dot(d, ofQuery(out, t));
        for (let s = 0; s <= t; s++) {
          const [key, value, dKey, dValue] = [k, v, dk, dv].map((x) => ofKey(x, s));
          const weight = Math.exp(dot(query, key) * scale - float(lse)[(b * H + h) * T + t]);
          const dScore = weight * (dot(d, value) - along) * scale;
          for (let i = 0; i < D; i++) {
            dValue[i] += weight * d[i];
            dQuery[i] += dScore * key[i];
            dKey[i] += dScore * query[i];
          }
        }
      }
    }
  }
}

export function writeCache(cache: Tensor, x: Tensor, start: Tensor): void {
  const [B, context, C] = cache.shape;
  check(cache.shape.length === 3 && x.shape[0] % B === 0, `writeCache: (${x.shape}) into (${cache.shape})`);
  const T = x.shape[0] / B;
  expectShape(x, [B * T, C], "writeCache x");
  expectShape(start, [B], "writeCache start");
  distinct(cache, x);
  int(start).forEach((first, b) => {
    check(first >= 0 && first + T <= context, `writeCache: rows ${first} + ${T} of ${context}`);
    float(cache).set(float(x).subarray(b * T * C, (b + 1) * T * C), (b * context + first) * C);
  });
}

export function attentionCached(
  out: Tensor,
  q: Tensor,
  kCache: Tensor,
  vCache: Tensor,
  start: Tensor,
  shape: AttentionShape,
): void {
  const { batch: B, length: T, heads: H, kvHeads: K, headDim: D } = shape;
  const context = kCache.shape[1];
  check(H % K === 0, `attentionCached: ${K} key heads do not divide ${H} heads`);
  expectShape(q, [B * T, H * D], "attentionCached q");
  sameShape(q, out, "attentionCached out");
  for (const x of [kCache, vCache]) expectShape(x, [B, context, K * D], "attentionCached cache");
  expectShape(start, [B], "attentionCached start");
  distinct(out, q, kCache, vCache);
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const group = Math.floor((h * K) / H);
      for (let t = 0; t < T; t++) {
        const seen = int(start)[b] + t + 1;
        check(seen >= 1 && seen <= context, `attentionCached: position ${seen - 1} of ${context}`);
        const rows = (cache: Tensor) =>
          Array.from({ length: seen }, (_, s) => headRow(float(cache), b * context + s, group, K, D));
        const { out: row } = attendRow(headRow(float(q), b * T + t, h, H, D), rows(kCache), rows(vCache));
        headRow(float(out), b * T + t, h, H, D).set(row);
      }
    }
  }
}
