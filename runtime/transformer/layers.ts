/**
 * Linear layers and norms: each forward with its backward. A backward *adds* to the gradients of parameters;
 * `dx` is overwritten by a linear layer unless it accumulates, and added to by a norm.
 */
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import type { Parameters } from "./parameters.ts";

/** A layer's parameters. Only gpt2's have biases. */
export interface Affine {
  weight: Tensor;
  bias?: Tensor;
}

/** And their gradients. */
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
  /** Add to the output in place of overwriting it. */
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

/** outs[i] (M,Oi) = {@link linear} of one x (M,I) by each of some layers */
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

/** The shape of what a norm keeps for its backward: rstd (M) of RMSNorm, mean and rstd (M,2) of LayerNorm. */
export const statsShape = (variant: string, M: number): number[] => (variant === "gpt2" ? [M, 2] : [M]);

/** out (M,d) = norm of x (M,d): RMSNorm, or LayerNorm where there is a bias */
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

/** dx (M,d) += …: the residual's own gradient is there already */
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
