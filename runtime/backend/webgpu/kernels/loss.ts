import type { Tensor } from "../../contract/backend.ts";
import { checkShapes } from "../../contract/tensors.ts";
import { sameShape, type WebgpuDevice, widthFor } from "../device/device.ts";
import { rowwise } from "./reduce.ts";

/**
 * Let top be the row's largest logit, `rest` the sum of exp(x − top) over all but the target, and `whole` the sum over
 * all. Then loss = log whole − (target's x − top), and the target's gradient is −rest/whole. Neither cancels if the target
 * is nearly certain: log whole is then log(1 + rest), computed as 2·atanh(rest / (2 + rest)), since WGSL's own log may be
 * off by 5e-7 near 1. WGSL does not define exp and log of NaN (SwiftShader returns infinity), so a row with a value that is
 * not finite is detected explicitly and gets a loss and a gradient of NaN.
 */
const CROSS_ENTROPY = rowwise(
  "cross-entropy",
  { losses: "write", logits: "writeW", targets: "read" },
  /* wgsl */ `
  let at = row * p.V;
  let label = min(u32(targets(row)), p.V * W - 1u);
  let own = sum_of(select(vecW(0.0), logits(at + label / W), is_column(label / W, label)));
  var most = -3.4e38;
  var sum = vecW(0.0);
  var finite = true;
  for (var c = lane; c < p.V; c += LANES) {
    let x = logits(at + c);
    let now = max(most, max_of(x));
    sum = sum * exp(most - now) + select(exp(x - now), vecW(0.0), is_column(c, label));
    most = now;
    finite = finite && is_finite(x);
  }
  // NaN from bits that are not a constant expression: WGSL rejects a constant NaN.
  if (!finite) { sum = vecW(bitcast<f32>(0x7fc00000u | lane)); }
  let top = workgroup_max(most);
  let rest = workgroup_sum(sum_of(sum) * exp(most - top));
  let whole = rest + exp(own - top);
  if (lane == 0u) {
    let over = select(whole - 1.0, rest, own == top);
    let z = over / (2.0 + over);
    let y = z * z;
    let tail = y / 3.0 + y * y * (1.0 / 5.0 + y / 7.0 + y * y * (1.0 / 9.0 + y / 11.0 + y * y / 13.0));
    let loss = select(log(whole), 2.0 * z * (1.0 + tail), over < 1.0) - (own - top);
    set_losses(row, select(whole, loss, is_finite(vecW(whole))));
  }
  if (p.scale == 0.0) { return; }
  storageBarrier(); // all invocations have read the target's logit
  for (var c = lane; c < p.V; c += LANES) {
    let power = select(exp(logits(at + c) - top), vecW(-rest), is_column(c, label));
    set_logits(at + c, power * (p.scale / whole));
  }`,
  { V: "u32", scale: "f32" },
);

export function crossEntropy(
  device: WebgpuDevice,
  losses: Tensor,
  logits: Tensor,
  targets: Tensor,
  scale: number,
): void {
  const M = losses.size;
  const V = logits.shape[logits.shape.length - 1];
  const fits = M * V === logits.size && sameShape(losses, targets) && targets.dtype === "i32";
  checkShapes(fits, "crossEntropy", losses, logits, targets);
  const { W } = widthFor(V, logits);
  device.run(CROSS_ENTROPY, { losses, logits, targets }, { M, V: V / W, scale }, M, { W });
}
