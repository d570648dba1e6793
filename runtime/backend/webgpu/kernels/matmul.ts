import type { MatmulOptions, Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import type { WebgpuDevice } from "../device/device.ts";
import { elementwise, WORKGROUP } from "../device/kernel.ts";
import { FEW_ROWS, multiplyRows } from "./matmul-few-rows.ts";
import { multiplyTiles, peaksOf } from "./matmul-many-rows.ts";

/** See {@link Backend.matmul}. Sums are f32; their order, and so their bits, depends only on shapes. */
export function matmul(
  device: WebgpuDevice,
  out: Tensor,
  a: Tensor,
  b: Tensor,
  options: MatmulOptions = {},
): void {
  const { transA = false, transB = false } = options;
  const [M, K] = transA ? [a.shape[1], a.shape[0]] : a.shape;
  const [N, inner] = transB ? b.shape : [b.shape[1], b.shape[0]];
  const fits = `${out.shape}` === `${M},${N}` && inner === K;
  const types = b.dtype === "f32" || (b.dtype !== "i32" && transB && !transA);
  checkShapes(fits && types && out.dtype === "f32" && a.dtype === "f32", "matmul", out, a, b);
  multiply(device, [out], a, [b], options);
}

/** See {@link Backend.linears}. */
export function linears(
  device: WebgpuDevice,
  outs: readonly Tensor[],
  x: Tensor,
  weights: readonly Tensor[],
): void {
  const [M, K] = x.shape;
  const fits = weights.every(
    ({ shape: [N, inner], dtype }, i) =>
      `${outs[i]?.shape}` === `${M},${N}` && inner === K && dtype === weights[0].dtype,
  );
  checkShapes(fits && x.dtype === "f32" && weights[0].dtype !== "i32", "linears", ...outs, x, ...weights);
  multiply(device, outs, x, weights, { transB: true });
}

/** outs[i] = a·bs[i]; a is prepared once. */
function multiply(
  device: WebgpuDevice,
  outs: readonly Tensor[],
  a: Tensor,
  bs: readonly Tensor[],
  { transA = false, transB = false, accumulate = false }: MatmulOptions,
): void {
  const int8 = bs[0].dtype === "i8";
  const left = int8 ? roundToInt8(device, a) : a;
  if (transB && !transA && a.shape[0] <= FEW_ROWS) {
    for (const [i, b] of bs.entries()) multiplyRows(device, outs[i], left, b, accumulate);
    return;
  }
  // Scaled int8 values need more precision than f16 has.
  const factors = int8 ? "f32" : device.tier.matmul;
  const peaks = factors === "f32" ? undefined : peaksOf(device, left);
  const options = { transA, transB, accumulate, factors, peaks };
  for (const [i, b] of bs.entries()) multiplyTiles(device, outs[i], left, b, options);
}

const ROUND = elementwise(
  "round-to-int8",
  { out: "write", x: "read" },
  `
  let in_row = (p.columns + 31u) / 32u;
  let first = i / in_row * p.columns + i % in_row * 32u;
  let end = min(first + 32u, (i / in_row + 1u) * p.columns);
  var most = 0.0;
  for (var j = first; j < end; j++) { most = max(most, abs(x(j))); }
  let unit = most / 127.0;
  for (var j = first; j < end; j++) { set_out(j, select(0.0, round(x(j) / unit) * unit, unit > 0.0)); }`,
  { columns: "u32" },
);

/**
 * Rounds rows in groups of 32 to int8 · (absolute maximum / 127), returned as f32: a product of these with int8 weights is
 * the integer result, except for f32 rounding.
 */
function roundToInt8(device: WebgpuDevice, x: Tensor): Tensor {
  const [M, K] = x.shape;
  const out = device.scratch("int8 rows", x.shape);
  const size = M * Math.ceil(K / 32);
  device.run(ROUND, { out, x }, { columns: K, size }, size / WORKGROUP);
  return out;
}
