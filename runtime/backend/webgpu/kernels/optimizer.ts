/** The global gradient norm and AdamW. */
import type { AdamWOptions, Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { elementwise } from "../device/kernel.ts";
import { runElementwise } from "./elementwise.ts";
import { rowwise } from "./reduce.ts";

/** Elements that a workgroup sums: few enough for each invocation to sum in f32. */
const CHUNK = 16384;

/** partial[first + chunk] = Σ x² over each chunk of x. */
const SUM_SQUARES = rowwise(
  "sum-squares",
  { partial: "write", x: "readW" },
  /* wgsl */ `
  let end = min(p.size, (row + 1u) * (${CHUNK}u / W));
  var squares = vecW(0.0);
  for (var i = row * (${CHUNK}u / W) + lane; i < end; i += LANES) { squares += x(i) * x(i); }
  let sum = workgroup_sum(sum_of(squares));
  if (lane == 0u) { set_partial(p.first + row, sum); }`,
  { size: "u32", first: "u32" },
);

const NORM = rowwise(
  "norm",
  { norm: "write", partial: "read" },
  /* wgsl */ `
  var part = 0.0;
  for (var i = lane; i < p.count; i += LANES) { part += partial(i); }
  let sum = workgroup_sum(part);
  if (lane == 0u) { set_norm(0u, sqrt(sum)); }`,
  { count: "u32" },
);

export function globalNorm(device: WebgpuDevice, norm: Tensor, tensors: readonly Tensor[]): void {
  checkShapes(norm.size === 1, "globalNorm", norm);
  const chunks = tensors.map(({ size }) => Math.ceil(size / CHUNK));
  const count = chunks.reduce((a, b) => a + b, 0);
  const partial = device.scratch("partial squares", [count]);
  let first = 0;
  tensors.forEach((x, i) => {
    const { W } = widthFor(x.size, x);
    device.run(SUM_SQUARES, { partial, x }, { M: chunks[i], size: x.size / W, first }, chunks[i], { W });
    first += chunks[i];
  });
  device.run(NORM, { norm, partial }, { M: 1, count }, 1);
}

// The bits of the norm show whether it is finite: compilers may assume that every float is.
const ADAMW = elementwise(
  "adamw",
  { param: "writeW", grad: "readW", m: "writeW", v: "writeW", norm: "read" },
  /* wgsl */ `
  let norm = norm(0u);
  if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u) { return; }
  let g = grad(i) * select(1.0, min(1.0, p.clip / (norm + 1e-6)), p.clip > 0.0);
  let mean = p.beta1 * m(i) + p.rest1 * g;
  let variance = p.beta2 * v(i) + p.rest2 * g * g;
  set_m(i, mean);
  set_v(i, variance);
  set_param(i, p.keep * param(i) - p.rate * mean / (sqrt(p.correction * variance) + p.eps));`,
  {
    beta1: "f32",
    rest1: "f32",
    beta2: "f32",
    rest2: "f32",
    eps: "f32",
    clip: "f32",
    keep: "f32",
    rate: "f32",
    correction: "f32",
  },
);

export function adamw(
  device: WebgpuDevice,
  param: Tensor,
  grad: Tensor,
  m: Tensor,
  v: Tensor,
  norm: Tensor,
  options: AdamWOptions,
): void {
  checkShapes(sameShape(param, grad, m, v) && norm.size === 1, "adamw", param, grad, m, v, norm);
  const { lr, beta1, beta2, eps, weightDecay, step, clip } = options;
  runElementwise(device, ADAMW, { param, grad, m, v, norm }, param.size, {
    beta1,
    rest1: 1 - beta1,
    beta2,
    rest2: 1 - beta2,
    eps,
    clip,
    keep: 1 - lr * weightDecay,
    rate: lr / (1 - beta1 ** step),
    correction: 1 / (1 - beta2 ** step),
  });
}
