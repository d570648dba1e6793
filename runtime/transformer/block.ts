import type { AttentionShape, Backend, RopeOptions, Tensor } from "../backend/contract/backend.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";
import { mapBlockLayers } from "../config/parameter-specs.ts";
import { type Layer, layer, linear, linearBackward, norm, normBackward, statsShape } from "./layers.ts";
import type { Parameters } from "./parameters.ts";

/** B sequences of T tokens; M = B·T rows. */
export interface BatchShape {
  /** B */
  batch: number;
  /** T */
  length: number;
  /** `Backend.lossRows`. Default: that of the CPU. */
  lossRows?: number;
}

/** `Backend.alloc`, or a function that only counts bytes. */
export type Alloc = (shape: readonly number[], dtype?: "f32" | "i32") => Tensor;

/** Activations of one block that its backward pass needs. */
export type BlockActivations = ReturnType<typeof blockActivations>;

export function blockActivations(config: ModelConfig, { batch, length }: BatchShape, alloc: Alloc) {
  const { d_model: d, d_ff: F, n_heads: H } = config;
  const { activation, kvWidth, norm, queryWidth } = architectureOf(config);
  const M = batch * length;
  return {
    x: alloc([M, d]),
    attnNorm: alloc([M, d]),
    attnStats: alloc(statsShape(norm, M)),
    q: alloc([M, queryWidth]), // after RoPE, as is k
    k: alloc([M, kvWidth]),
    v: alloc([M, kvWidth]),
    z: alloc([M, queryWidth]),
    lse: alloc([batch * H, length]),
    mid: alloc([M, d]),
    mlpNorm: alloc([M, d]),
    mlpStats: alloc(statsShape(norm, M)),
    gate: activation === "swiglu" ? alloc([M, F]) : undefined,
    up: alloc([M, F]),
    act: alloc([M, F]),
  };
}

/** Gradients of activations in the backward pass: one set, reused by every block. */
export type BlockScratch = ReturnType<typeof blockScratch>;

export function blockScratch(config: ModelConfig, { batch, length }: BatchShape, alloc: Alloc) {
  const { d_model: d, d_ff: F } = config;
  const { activation, kvWidth, queryWidth } = architectureOf(config);
  const M = batch * length;
  return {
    /** Gradient of the residual stream: of the block's output before its backward pass, of its input after. */
    dx: alloc([M, d]),
    /** Gradient of the attention's output, then of the norm's. */
    dBranch: alloc([M, d]),
    dq: alloc([M, queryWidth]),
    dk: alloc([M, kvWidth]),
    dv: alloc([M, kvWidth]),
    dGate: activation === "swiglu" ? alloc([M, F]) : undefined,
    dUp: alloc([M, F]),
    dAct: alloc([M, F]),
  };
}

/** Shared by all blocks. */
export interface BlockContext {
  backend: Backend;
  shape: AttentionShape;
  /** (context, D); absent with learned positions */
  ropeTable?: Tensor;
  scratch: BlockScratch;
}

export interface BlockLayers {
  attnNorm: Layer;
  q: Layer;
  k: Layer;
  v: Layer;
  o: Layer;
  mlpNorm: Layer;
  /** only with a gated activation */
  gate?: Layer;
  up: Layer;
  down: Layer;
}

export const blockLayers = (
  config: ModelConfig,
  parameters: Parameters,
  gradients: Parameters,
  l: number,
): BlockLayers => mapBlockLayers(config, l, (name) => layer(parameters, gradients, name));

/** out (M,d) = the residual stream a.x (M,d) after attention and MLP */
export function blockForward(context: BlockContext, p: BlockLayers, a: BlockActivations, out: Tensor): void {
  attentionForward(context, p, a);
  mlpForward(context, p, a, out);
}

/** scratch.dx (M,d): the gradient of the block's output becomes that of its input */
export function blockBackward(context: BlockContext, p: BlockLayers, a: BlockActivations): void {
  mlpBackward(context, p, a);
  attentionBackward(context, p, a);
}

/** mid = x + attention(norm(x)) · W_oᵀ */
function attentionForward(context: BlockContext, p: BlockLayers, a: BlockActivations): void {
  const { backend, shape } = context;
  norm(backend, a.attnNorm, a.attnStats, a.x, p.attnNorm); // (M,d)
  linear(backend, a.q, a.attnNorm, p.q); // (M,H·D)
  linear(backend, a.k, a.attnNorm, p.k); // (M,K·D)
  linear(backend, a.v, a.attnNorm, p.v); // (M,K·D)
  rotate(context, a.q, a.k);
  backend.attention(a.z, a.lse, a.q, a.k, a.v, shape); // (M,H·D)
  backend.copy(a.mid, a.x); // (M,d)
  linear(backend, a.mid, a.z, p.o, { accumulate: true });
}

function attentionBackward(context: BlockContext, p: BlockLayers, a: BlockActivations): void {
  const { backend, shape } = context;
  const { dx, dBranch, dq, dk, dv } = context.scratch;
  linearBackward(backend, dBranch, dx, a.z, p.o); // dz (M,H·D)
  backend.attentionBackward(dq, dk, dv, dBranch, a.z, a.lse, a.q, a.k, a.v, shape);
  rotate(context, dq, dk, { inverse: true });
  linearBackward(backend, dBranch, dq, a.attnNorm, p.q); // d norm (M,d)
  linearBackward(backend, dBranch, dk, a.attnNorm, p.k, { accumulate: true });
  linearBackward(backend, dBranch, dv, a.attnNorm, p.v, { accumulate: true });
  normBackward(backend, dx, dBranch, a.x, a.attnStats, p.attnNorm); // (M,d)
}

function rotate(
  context: BlockContext,
  q: Tensor,
  k: Tensor,
  options: Pick<RopeOptions, "inverse"> = {},
): void {
  const { backend, ropeTable } = context;
  if (!ropeTable) return;
  const { length, heads, kvHeads, headDim } = context.shape;
  backend.rope(q, ropeTable, { length, heads, headDim, ...options });
  backend.rope(k, ropeTable, { length, heads: kvHeads, headDim, ...options });
}

/** out = mid + act · W_downᵀ with act = silu(W_gate n)·(W_up n), or gelu(W_up n) without a gate; n = norm(mid) */
function mlpForward(context: BlockContext, p: BlockLayers, a: BlockActivations, out: Tensor): void {
  const { backend } = context;
  norm(backend, a.mlpNorm, a.mlpStats, a.mid, p.mlpNorm); // (M,d)
  linear(backend, a.up, a.mlpNorm, p.up); // (M,F)
  if (p.gate && a.gate) {
    linear(backend, a.gate, a.mlpNorm, p.gate); // (M,F)
    backend.swiglu(a.act, a.gate, a.up);
  } else {
    backend.gelu(a.act, a.up);
  }
  backend.copy(out, a.mid); // (M,d)
  linear(backend, out, a.act, p.down, { accumulate: true });
}

function mlpBackward(context: BlockContext, p: BlockLayers, a: BlockActivations): void {
  const { backend } = context;
  const { dx, dBranch, dGate, dUp, dAct } = context.scratch;
  linearBackward(backend, dAct, dx, a.act, p.down); // (M,F)
  if (p.gate && a.gate && dGate) {
    backend.swigluBackward(dGate, dUp, dAct, a.gate, a.up);
    linearBackward(backend, dBranch, dGate, a.mlpNorm, p.gate); // d norm (M,d)
  } else {
    backend.geluBackward(dUp, dAct, a.up);
  }
  linearBackward(backend, dBranch, dUp, a.mlpNorm, p.up, { accumulate: p.gate !== undefined });
  normBackward(backend, dx, dBranch, a.mid, a.mlpStats, p.mlpNorm); // (M,d)
}
