import type { AdamWOptions, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { check, distinct, expectShape, float, int, matrix, sameShape } from "./tensor.ts";

export function crossEntropy(losses: Tensor, logits: Tensor, targets: Tensor, scale: number): void {
  const [M, V] = matrix(logits, "crossEntropy logits");
  expectShape(losses, [M], "crossEntropy losses");
  expectShape(targets, [M], "crossEntropy targets");
  distinct(losses, logits);
  for (let m = 0; m < M; m++) {
    const row = float(logits).subarray(m * V, (m + 1) * V);
    const target = int(targets)[m];
    check(target >= 0 && target < V, `crossEntropy: target ${target} of ${V}`);
    const most = row.reduce((a, b) => Math.max(a, b));
    const lse = most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0));
    float(losses)[m] = lse - row[target];
    if (scale !== 0) row.set(row.map((x, i) => (Math.exp(x - lse) - (i === target ? 1 : 0)) * scale));
  }
}

export function globalNorm(norm: Tensor, tensors: readonly Tensor[]): void {
  expectShape(norm, [1], "globalNorm norm");
  let sum = 0;
  for (const tensor of tensors) for (const x of float(tensor)) sum += x * x;
  float(norm)[0] = Math.sqrt(sum);
}

export function adamw(
  param: Tensor,
  grad: Tensor,
  m: Tensor,
  v: Tensor,
  norm: Tensor,
  options: AdamWOptions,
): void {
  const { lr, beta1, beta2, eps, weightDecay, step, clip } = options;
  for (const x of [grad, m, v]) sameShape(param, x, "adamw");
  expectShape(norm, [1], "adamw norm");
  const [p, g, first, second] = [param, grad, m, v].map(float);
  const total = float(norm)[0];
  if (!Number.isFinite(total)) return;
  const scale = clip > 0 ? Math.min(1, clip / (total + 1e-6)) : 1;
  for (let i = 0; i < p.length; i++) {
    const gradient = g[i] * scale;
    p[i] *= 1 - lr * weightDecay;
    first[i] = beta1 * first[i] + (1 - beta1) * gradient;
    second[i] = beta2 * second[i] + (1 - beta2) * gradient ** 2;
    const mean = first[i] / (1 - beta1 ** step);
    const variance = second[i] / (1 - beta2 ** step);
    p[i] -= (lr * mean) / (Math.sqrt(variance) + eps);
  }
}
