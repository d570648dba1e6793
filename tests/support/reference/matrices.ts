import type { MatmulOptions, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { check, decode, distinct, expectShape, float, int, matrix, sameShape } from "./tensor.ts";

/** Rounds each row in groups of 32 values to int8 multiples of (absolute maximum / 127). */
function roundToInt8(values: Float64Array, columns: number): Float64Array {
  const rounded = new Float64Array(values.length);
  for (let row = 0; row < values.length; row += columns) {
    for (let start = row; start < row + columns; start += 32) {
      const group = values.subarray(start, Math.min(start + 32, row + columns));
      const scale = group.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127;
      if (scale > 0)
        rounded.set(
          group.map((x) => Math.round(x / scale) * scale),
          start,
        );
    }
  }
  return rounded;
}

export function matmul(out: Tensor, a: Tensor, b: Tensor, options: MatmulOptions = {}): void {
  const { transA = false, transB = false, accumulate = false } = options;
  const [rows, inner] = transA ? matrix(a, "a").reverse() : matrix(a, "a");
  const [bInner, columns] = transB ? matrix(b, "b").reverse() : matrix(b, "b");
  check(inner === bInner, `matmul: inner sizes ${inner} and ${bInner}`);
  expectShape(out, [rows, columns], "matmul out");
  distinct(out, a, b);
  check(b.dtype === "f32" || (transB && !transA), `matmul: an ${b.dtype} b needs transB and a plain a`);
  const x = b.dtype === "i8" ? roundToInt8(float(a), inner) : float(a);
  const y = decode(b);
  const o = float(out);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      let sum = accumulate ? o[r * columns + c] : 0;
      for (let i = 0; i < inner; i++) {
        sum += x[transA ? i * rows + r : r * inner + i] * y[transB ? c * inner + i : i * columns + c];
      }
      o[r * columns + c] = sum;
    }
  }
}

function checkIds(ids: Int32Array, table: Tensor): void {
  for (const id of ids) check(id >= 0 && id < table.shape[0], `id ${id} of ${table.shape[0]} rows`);
}

export function gather(out: Tensor, table: Tensor, ids: Tensor): void {
  const [, C] = matrix(table, "gather table");
  expectShape(out, [ids.size, C], "gather out");
  distinct(out, table, ids);
  checkIds(int(ids), table);
  const [o, rows] = [float(out), decode(table)];
  int(ids).forEach((id, m) => {
    o.set(rows.subarray(id * C, (id + 1) * C), m * C);
  });
}

export function linears(outs: readonly Tensor[], x: Tensor, weights: readonly Tensor[]): void {
  check(outs.length === weights.length && weights.length <= 3, `linears: ${weights.length} weights`);
  for (const [i, weight] of weights.entries()) {
    check(weight.dtype === weights[0].dtype, "linears: weights of one dtype");
    matmul(outs[i], x, weight, { transB: true });
  }
}

export function scatterAdd(dTable: Tensor, ids: Tensor, dOut: Tensor): void {
  const [, C] = matrix(dTable, "scatterAdd dTable");
  expectShape(dOut, [ids.size, C], "scatterAdd dOut");
  distinct(dTable, ids, dOut);
  checkIds(int(ids), dTable);
  const [table, d] = [float(dTable), float(dOut)];
  int(ids).forEach((id, m) => {
    for (let c = 0; c < C; c++) table[id * C + c] += d[m * C + c];
  });
}

export function topk(out: Tensor, x: Tensor, k: number): void {
  const [V, S] = matrix(x, "topk x");
  sameShape(x, out, "topk out");
  distinct(out, x);
  check(Number.isInteger(k) && k >= 1 && k <= S, `topk: k is ${k} of ${S}`);
  const [o, values] = [float(out).fill(0), float(x)];
  for (let r = 0; r < V; r++) {
    const row = values.subarray(r * S, (r + 1) * S).map((v) => Math.max(v, 0));
    const byValue = Array.from(row.keys()).sort((i, j) => row[j] - row[i] || i - j);
    for (const i of byValue.slice(0, k)) o[r * S + i] = row[i];
  }
}

export function topkBackward(dx: Tensor, dOut: Tensor, out: Tensor): void {
  sameShape(out, dOut, "topkBackward dOut");
  sameShape(out, dx, "topkBackward dx");
  const [d, g, o] = [float(dx), float(dOut), float(out)];
  for (let i = 0; i < d.length; i++) d[i] = o[i] > 0 ? g[i] : 0;
}
