/** RMSNorm and LayerNorm, forward and backward, and sums over rows. */
import type { Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { type Access, type Kernel, kernel, WORKGROUP } from "../device/kernel.ts";
import { broadcasts } from "./elementwise.ts";
import { rowwise } from "./reduce.ts";

const EPS = "1e-5";

// ---- sums over rows ------------------------------------------------------------------------------------------

/** Rows of a column that one invocation sums: 8192 × 1024 elements are 256 workgroups, with four columns per invocation. */
const BLOCK = 32;

/** partial (M/BLOCK,C) = sums over blocks of rows of `term`, an expression of the element `i` = (row, column). */
function sumOfBlocks<Binding extends string>(
  name: string,
  bindings: Record<Binding, Access>,
  term: string,
): Kernel<Binding | "partial", "M" | "C"> {
  return kernel(
    name,
    { partial: "writeW", ...bindings } as Record<Binding | "partial", Access>,
    { M: "u32", C: "u32" },
    /* wgsl */ `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  if (column >= p.C) { return; }
  var sum = vecW(0.0);
  for (var row = id.y * ${BLOCK}u; row < min(p.M, (id.y + 1u) * ${BLOCK}u); row++) {
    let i = row * p.C + column;
    sum += ${term};
  }
  set_partial(id.y * p.C + column, sum);
}`,
  );
}

/** sums (C) += partial (blocks,C). A workgroup has 16 columns and 16 invocations for each column. */
const ADD_BLOCKS = kernel(
  "add-blocks",
  { sums: "write", partial: "read" },
  { blocks: "u32", C: "u32" },
  /* wgsl */ `
var<workgroup> parts: array<f32, ${WORKGROUP}>;

@compute @workgroup_size(${WORKGROUP})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let column = (group.x + group.y * groups.x) * 16u + lane % 16u;
  var sum = 0.0;
  if (column < p.C) {
    for (var block = lane / 16u; block < p.blocks; block += 16u) { sum += partial(block * p.C + column); }
  }
  parts[lane] = sum;
  workgroupBarrier();
  if (lane >= 16u || column >= p.C) { return; }
  for (var i = lane + 16u; i < ${WORKGROUP}u; i += 16u) { sum += parts[i]; }
  set_sums(column, sums(column) + sum);
}`,
);

/** sums (C) += a kernel's sums over all rows of (M,C), in an order that depends only on M. */
function addColumnSums<Binding extends string>(
  device: WebgpuDevice,
  kernel: Kernel<Binding | "partial", "M" | "C">,
  sums: Tensor,
  tensors: Record<Binding, Tensor>,
  M: number,
): void {
  const C = sums.size;
  const blocks = Math.ceil(M / BLOCK);
  const partial = device.scratch("column sums", [blocks, C]);
  const { W } = widthFor(C, ...Object.values<Tensor>(tensors));
  const all = { ...tensors, partial } as Record<Binding | "partial", Tensor>;
  const columns = C / W;
  device.run(kernel, all, { M, C: columns }, [Math.ceil(columns / WORKGROUP), blocks, 1], { W });
  device.run(ADD_BLOCKS, { sums, partial }, { blocks, C }, C / 16);
}

const SUM_ROWS = sumOfBlocks("sum-rows", { x: "readW" }, "x(i)");

export function sumBroadcast(device: WebgpuDevice, db: Tensor, dx: Tensor): void {
  checkShapes(broadcasts(dx, db), "sumBroadcast", db, dx);
  addColumnSums(device, SUM_ROWS, db, { x: dx }, dx.size / db.size);
}

// ---- RMSNorm -------------------------------------------------------------------------------------------------

const RMSNORM = rowwise(
  "rmsnorm",
  { out: "writeW", rstd: "write", x: "readW", weight: "readW" },
  /* wgsl */ `
  let at = row * p.C;
  var squares = vecW(0.0);
  for (var c = lane; c < p.C; c += LANES) { squares += x(at + c) * x(at + c); }
  let r = inverseSqrt(workgroup_sum(sum_of(squares)) / f32(p.C * W) + ${EPS});
  if (lane == 0u) { set_rstd(row, r); }
  for (var c = lane; c < p.C; c += LANES) { set_out(at + c, x(at + c) * r * weight(c)); }`,
  { C: "u32" },
);

// With g = dOut·weight and y = x·rstd: dx += rstd·(g − y·mean(g·y)); dWeight += Σ dOut·y
const RMSNORM_BACKWARD = rowwise(
  "rmsnorm-backward",
  { dx: "writeW", dOut: "readW", x: "readW", weight: "readW", rstd: "read" },
  /* wgsl */ `
  let at = row * p.C;
  let r = rstd(row);
  var along = vecW(0.0);
  for (var c = lane; c < p.C; c += LANES) { along += dOut(at + c) * weight(c) * (x(at + c) * r); }
  let mean = workgroup_sum(sum_of(along)) / f32(p.C * W);
  for (var c = lane; c < p.C; c += LANES) {
    let i = at + c;
    set_dx(i, dx(i) + r * (dOut(i) * weight(c) - x(i) * r * mean));
  }`,
  { C: "u32" },
);
const RMSNORM_WEIGHT = sumOfBlocks(
  "rmsnorm-weight",
  { dOut: "readW", x: "readW", rstd: "read" },
  "dOut(i) * (x(i) * rstd(row))",
);

export function rmsnorm(device: WebgpuDevice, out: Tensor, rstd: Tensor, x: Tensor, weight: Tensor): void {
  const [M, C] = [rstd.size, weight.size];
  checkShapes(sameShape(out, x) && x.size === M * C, "rmsnorm", out, rstd, x, weight);
  const { W } = widthFor(C, out, x, weight);
  device.run(RMSNORM, { out, rstd, x, weight }, { M, C: C / W }, M, { W });
}

export function rmsnormBackward(
  device: WebgpuDevice,
  dx: Tensor,
  dWeight: Tensor,
  dOut: Tensor,
  x: Tensor,
  weight: Tensor,
  rstd: Tensor,
): void {
  const [M, C] = [rstd.size, weight.size];
  const fits = sameShape(dx, dOut, x) && sameShape(dWeight, weight) && x.size === M * C;
  checkShapes(fits, "rmsnormBackward", dx, x, weight);
  const { W } = widthFor(C, dx, dOut, x, weight);
  device.run(RMSNORM_BACKWARD, { dx, dOut, x, weight, rstd }, { M, C: C / W }, M, { W });
  addColumnSums(device, RMSNORM_WEIGHT, dWeight, { dOut, x, rstd }, M);
}

// ---- LayerNorm -----------------------------------------------------------------------------------------------

const LAYERNORM = rowwise(
  "layernorm",
  { out: "writeW", stats: "write", x: "readW", weight: "readW", bias: "readW" },
  /* wgsl */ `
  let at = row * p.C;
  let count = f32(p.C * W);
  var whole = vecW(0.0);
  for (var c = lane; c < p.C; c += LANES) { whole += x(at + c); }
  let mean = workgroup_sum(sum_of(whole)) / count;
  var squares = vecW(0.0);
  for (var c = lane; c < p.C; c += LANES) {
    let off = x(at + c) - mean;
    squares += off * off;
  }
  let rstd = inverseSqrt(workgroup_sum(sum_of(squares)) / count + ${EPS});
  if (lane == 0u) {
    set_stats(2u * row, mean);
    set_stats(2u * row + 1u, rstd);
  }
  for (var c = lane; c < p.C; c += LANES) { set_out(at + c, (x(at + c) - mean) * rstd * weight(c) + bias(c)); }`,
  { C: "u32" },
);

// With g = dOut·weight and y = (x − mean)·rstd: dx += rstd·(g − mean(g) − y·mean(g·y)); dWeight += Σ dOut·y;
// dBias += Σ dOut
const LAYERNORM_BACKWARD = rowwise(
  "layernorm-backward",
  { dx: "writeW", dOut: "readW", x: "readW", weight: "readW", stats: "read" },
  /* wgsl */ `
  let at = row * p.C;
  let mean = stats(2u * row);
  let rstd = stats(2u * row + 1u);
  var level = vecW(0.0);
  var along = vecW(0.0);
  for (var c = lane; c < p.C; c += LANES) {
    let g = dOut(at + c) * weight(c);
    level += g;
    along += g * ((x(at + c) - mean) * rstd);
  }
  let meanG = workgroup_sum(sum_of(level)) / f32(p.C * W);
  let meanGY = workgroup_sum(sum_of(along)) / f32(p.C * W);
  for (var c = lane; c < p.C; c += LANES) {
    let i = at + c;
    let y = (x(i) - mean) * rstd;
    set_dx(i, dx(i) + rstd * (dOut(i) * weight(c) - meanG - y * meanGY));
  }`,
  { C: "u32" },
);
const LAYERNORM_WEIGHT = sumOfBlocks(
  "layernorm-weight",
  { dOut: "readW", x: "readW", stats: "read" },
  "dOut(i) * ((x(i) - stats(2u * row)) * stats(2u * row + 1u))",
);

export function layernorm(
  device: WebgpuDevice,
  out: Tensor,
  stats: Tensor,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
): void {
  const [M, C] = [x.size / weight.size, weight.size];
  const fits = sameShape(out, x) && sameShape(weight, bias) && stats.size === 2 * M;
  checkShapes(fits, "layernorm", out, stats, x, weight, bias);
  const { W } = widthFor(C, out, x, weight, bias);
  device.run(LAYERNORM, { out, stats, x, weight, bias }, { M, C: C / W }, M, { W });
}

export function layernormBackward(
  device: WebgpuDevice,
  dx: Tensor,
  dWeight: Tensor,
  dBias: Tensor,
  dOut: Tensor,
  x: Tensor,
  weight: Tensor,
  stats: Tensor,
): void {
  const [M, C] = [x.size / weight.size, weight.size];
  const fits = sameShape(dx, dOut, x) && sameShape(weight, dWeight, dBias) && stats.size === 2 * M;
  checkShapes(fits, "layernormBackward", dx, x, weight, stats);
  const { W } = widthFor(C, dx, dOut, x, weight);
  device.run(LAYERNORM_BACKWARD, { dx, dOut, x, weight, stats }, { M, C: C / W }, M, { W });
  addColumnSums(device, LAYERNORM_WEIGHT, dWeight, { dOut, x, stats }, M);
  addColumnSums(device, SUM_ROWS, dBias, { x: dOut }, M);
}
