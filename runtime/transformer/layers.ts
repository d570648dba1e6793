/**
 * Linear layers and norms: each forward beside its backward. A backward *adds* to the gradients of parameters. A linear
 * layer overwrites `dx` unless it accumulates; a norm adds to it.
 */
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import type { Architecture } from "../config/architecture.ts";
import type { Parameters } from "./parameters.ts";

/** A layer's parameters. */
export interface Affine {
  weight: Tensor;
  bias?: Tensor;
}

/** A layer's parameters with their gradients. */
export interface Layer extends Affine {
  dWeight: Tensor;
  dBias?: Tensor;
}

export function layer(parameters: Parameters, gradients: Parameters, name: string): Layer {
  return {
    weight: parameters[`${name}.weight`],
    dWeight: gradients[`${name}.weight`],
    bias: parameters[`${name}.bias`],
    dBias: gradients[`${name}.bias`],
  };
}

export interface Accumulate {
  /** Adds to the output instead of overwriting it. */
  accumulate?: boolean;
}

/** out (M,O) = x (M,I) · weightᵀ (I,O) + bias (O) */
export function linear(
  backend: Backend,
  out: Tensor,
  x: Tensor,
  { weight, bias }: Affine,
  { accumulate = false }: Accumulate = {},
): void {
  backend.matmul(out, x, weight, { transB: true, accumulate });
  if (bias) backend.addBroadcast(out, bias);
}

/** outs[i] (M,Oi) = {@link linear} of the same x (M,I) by each layer */
export function linears(
  backend: Backend,
  outs: readonly Tensor[],
  x: Tensor,
  layers: readonly Affine[],
): void {
  backend.linears(
    outs,
    x,
    layers.map(({ weight }) => weight),
  );
  for (let i = 0; i < layers.length; i++) {
    const { bias } = layers[i];
    if (bias) backend.addBroadcast(outs[i], bias);
  }
}

/** dx (M,I) = dOut (M,O) · weight (O,I); dWeight += dOutᵀ · x; dBias += Σ_M dOut */
export function linearBackward(
  backend: Backend,
  dx: Tensor,
  dOut: Tensor,
  x: Tensor,
  { weight, dWeight, dBias }: Layer,
  { accumulate = false }: Accumulate = {},
): void {
  backend.matmul(dx, dOut, weight, { accumulate });
  backend.matmul(dWeight, dOut, x, { transA: true, accumulate: true });
  if (dBias) backend.sumBroadcast(dBias, dOut);
}

/** The shape of the statistics a norm keeps for its backward: rstd (M) for RMSNorm, mean and rstd (M,2) for LayerNorm. */
export const statsShape = (kind: Architecture["norm"], M: number): number[] =>
  kind === "layernorm" ? [M, 2] : [M];

/** out (M,d) = norm of x (M,d): RMSNorm, or LayerNorm if there is a bias */
export function norm(
  backend: Backend,
  out: Tensor,
  stats: Tensor,
  x: Tensor,
  { weight, bias }: Affine,
): void {
  if (bias) backend.layernorm(out, stats, x, weight, bias);
  else backend.rmsnorm(out, stats, x, weight);
}

/** dx (M,d) += …, which already holds the gradient of the residual connection */
export function normBackward(
  backend: Backend,
  dx: Tensor,
  dOut: Tensor,
  x: Tensor,
  stats: Tensor,
  { weight, dWeight, dBias }: Layer,
): void {
  if (dBias) backend.layernormBackward(dx, dWeight, dBias, dOut, x, weight, stats);
  else backend.rmsnormBackward(dx, dWeight, dOut, x, weight, stats);
}
