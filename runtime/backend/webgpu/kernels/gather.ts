/** Tables with a row for each token: lookup and its backward, and the top-k of sparse recipes. */
import type { Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { elementwise, WORKGROUP } from "../device/kernel.ts";
import { runElementwise } from "./elementwise.ts";
import { rowwise } from "./reduce.ts";

const last = ({ shape }: Tensor) => shape[shape.length - 1];

// ---- lookup --------------------------------------------------------------------------------------------------

// An invalid id reads the last row instead of memory past the end of the table.
const ROW = "min(u32(ids(i / p.C)), p.V - 1u)";
const GATHER = elementwise(
  "gather",
  { out: "writeW", table: "readW", ids: "read" },
  `  set_out(i, table(${ROW} * p.C + i % p.C));`,
  { V: "u32", C: "u32" },
);
const GATHER_I8 = elementwise(
  "gather-i8",
  { out: "writeW", table: "readW", scale: "read", ids: "read" },
  /* wgsl */ `
  let row = ${ROW};
  let group = i % p.C / (32u / W);
  set_out(i, table(row * p.C + i % p.C) * scale(row * p.groups + group));`,
  { V: "u32", C: "u32", groups: "u32" },
);

export function gather(device: WebgpuDevice, out: Tensor, table: Tensor, ids: Tensor): void {
  const { dtype, scale, shape } = table;
  const C = last(table);
  checkShapes(out.size === ids.size * C && ids.dtype === "i32" && dtype !== "i32", "gather", out, table, ids);
  const { W } = widthFor(C, out, table);
  const size = out.size / W;
  const params = { V: shape[0], C: C / W, size };
  if (scale) {
    const tensors = { out, table, scale, ids };
    device.run(GATHER_I8, tensors, { ...params, groups: last(scale) }, size / WORKGROUP, { W });
  } else {
    device.run(GATHER, { out, table, ids }, params, size / WORKGROUP, { W });
  }
}

/**
 * links (M): the next position n with the same id, or M if there is none; −1 − n instead of n if the id has an earlier
 * position. Each of M workgroups reads all M ids: for M = 16,384 these are 268 million cached reads, compared with the
 * 10^12 operations of a head's product.
 */
const LINKS = rowwise(
  "scatter-links",
  { links: "write", ids: "read" },
  /* wgsl */ `
  let id = ids(row);
  var before = 0.0;
  var after = 0.0; // M − the next position
  for (var other = lane; other < p.M; other += LANES) {
    if (ids(other) != id) { continue; }
    if (other < row) { before = 1.0; }
    if (other > row) { after = max(after, f32(p.M - other)); }
  }
  let next = i32(p.M) - i32(workgroup_max(after));
  let first = workgroup_max(before) == 0.0;
  if (lane == 0u) { set_links(row, select(-1 - next, next, first)); }`,
);

// The invocation of a token's first row adds all of its rows: a token at every 20th of 16,384 positions is a chain of 800 reads.
const SCATTER_ADD = elementwise(
  "scatter-add",
  { dTable: "writeW", ids: "read", links: "read", dOut: "readW" },
  /* wgsl */ `
  let row = i / p.C;
  let column = i % p.C;
  let token = u32(ids(row));
  var next = links(row);
  if (next < 0 || token >= p.V) { return; }
  var sum = dTable(token * p.C + column) + dOut(i);
  while (next < i32(p.M)) {
    sum += dOut(u32(next) * p.C + column);
    next = -1 - links(u32(next));
  }
  set_dTable(token * p.C + column, sum);`,
  { M: "u32", V: "u32", C: "u32" },
);

export function scatterAdd(device: WebgpuDevice, dTable: Tensor, ids: Tensor, dOut: Tensor): void {
  const C = last(dTable);
  const M = ids.size;
  checkShapes(dOut.size === M * C && ids.dtype === "i32", "scatterAdd", dTable, ids, dOut);
  const links = device.scratch("links", [M], "i32");
  device.run(LINKS, { links, ids }, { M }, M);
  const { W } = widthFor(C, dTable, dOut);
  const [V, size] = [dTable.size / C, dOut.size / W];
  device.run(SCATTER_ADD, { dTable, ids, links, dOut }, { M, V, C: C / W, size }, size / WORKGROUP, { W });
}

// ---- the k largest -------------------------------------------------------------------------------------------

/**
 * WGSL that finds the `left`-th largest key among the elements of a row that satisfy `among`, where `j` is an invocation's
 * element: a radix selection by digits of four bits, from `shift` down. Each digit uses sixteen of `counts`, which must be
 * zero, and one barrier. Zero digits are not counted: the digit is zero if too few others are larger. Afterwards `left` is
 * the number of keys to take among those that equal the result.
 */
const selectKey = (found: string, key: string, among: string, shift: string, counts: number) => /* wgsl */ `
  var ${found} = 0u;
  for (var shift = ${shift}; ; shift -= 4u) {
    let counter = ${counts}u + 4u * shift;
    for (var j = 0u; j < EACH; j++) {
      let key = ${key};
      let digit = (key >> shift) & 15u;
      if (${among} && digit > 0u && ((key ^ ${found}) >> shift) >> 4u == 0u) { atomicAdd(&counts[counter + digit], 1u); }
    }
    workgroupBarrier();
    var digit = 15u;
    for (; digit > 0u; digit--) {
      let count = atomicLoad(&counts[counter + digit]);
      if (count >= left) { break; }
      left -= count;
    }
    ${found} |= digit << shift;
    if (shift == 0u) { break; }
  }`;

/** Positive floats sort as their bits do. The k-th largest is the smallest value kept; among its equals the first are kept. */
const TOPK = rowwise(
  "topk",
  { out: "write", x: "read" },
  /* wgsl */ `
  atomicStore(&counts[lane], 0u);
  workgroupBarrier();
  var bits: array<u32, EACH>;
  for (var j = 0u; j < EACH; j++) {
    let c = lane + j * LANES;
    if (c < p.C) { bits[j] = u32(max(0, bitcast<i32>(x(row * p.C + c)))); }
  }
  var left = p.k;
  ${selectKey("least", "bits[j]", "true", "28u", 0)}
  ${selectKey("end", "p.C - 1u - (lane + j * LANES)", "bits[j] == least", "p.shift", 128)}
  for (var j = 0u; j < EACH; j++) {
    let c = lane + j * LANES;
    let stays = bits[j] > least || (bits[j] == least && p.C - 1u - c >= end);
    if (c < p.C) { set_out(row * p.C + c, select(0.0, bitcast<f32>(bits[j]), stays)); }
  }`,
  { C: "u32", k: "u32", shift: "u32" },
  "var<workgroup> counts: array<atomic<u32>, 256>;",
);

export function topk(device: WebgpuDevice, out: Tensor, x: Tensor, k: number): void {
  const C = last(x);
  checkShapes(sameShape(out, x) && k >= 1 && k <= C, "topk", out, x);
  const M = x.size / C;
  // The shift of the highest digit of a column index.
  const shift = 4 * Math.floor(Math.log2(C) / 4);
  device.run(TOPK, { out, x }, { M, C, k, shift }, M, { EACH: Math.ceil(C / WORKGROUP) });
}

const TOPK_BACKWARD = elementwise(
  "topk-backward",
  { dx: "writeW", dOut: "readW", out: "readW" },
  "  set_dx(i, select(vecW(0.0), dOut(i), out(i) > vecW(0.0)));",
);

export function topkBackward(device: WebgpuDevice, dx: Tensor, dOut: Tensor, out: Tensor): void {
  checkShapes(sameShape(dx, dOut, out), "topkBackward", dx, dOut, out);
  runElementwise(device, TOPK_BACKWARD, { dx, dOut, out }, dx.size);
}
