import type { AttentionShape, Backend, RopeOptions, Tensor } from "../backend/contract/backend.ts";
import type { ModelConfig } from "../config/config.ts";
import { type Layer, layer, linear, linearBackward, norm, normBackward, statsShape } from "./layers.ts";
import type { Parameters } from "./parameters.ts";

/** B sequences of T tokens; M = B·T rows. */
export interface BatchShape {
  /** B */
  batch: number;
  /** T */
  length: number;
  /** `Backend.lossRows`; a CPU's where it isn't said. */
  lossRows?: number;
}

/** `Backend.alloc`, or something that only counts. */
export type Alloc = (shape: readonly number[], dtype?: "f32" | "i32") => Tensor;

/** What one block's forward leaves for its backward. */
export type BlockActivations = ReturnType<typeof blockActivations>;

export function blockActivations(config: ModelConfig, { batch, length }: BatchShape, alloc: Alloc) {
  const { d_model: d, d_ff: F, n_heads: H, n_kv_heads: K, variant } = config;
  const M = batch * length;
  const kv = (K * d) / H;
  return {
    x: alloc([M, d]),
    attnNorm: alloc([M, d]),
    attnStats: alloc(statsShape(variant, M)),
    q: alloc([M, d]), // after RoPE, as is k
    k: alloc([M, kv]),
    v: alloc([M, kv]),
    z: alloc([M, d]),
    lse: alloc([batch * H, length]),
    mid: alloc([M, d]),
    mlpNorm: alloc([M, d]),
    mlpStats: alloc(statsShape(variant, M)),
    gate: variant === "gpt2" ? undefined : alloc([M, F]),
    up: alloc([M, F]),
    act: alloc([M, F]),
  };
}

/** The backward's gradients of activations: one set, used by every block in turn. */
export type BlockScratch = ReturnType<typeof blockScratch>;

export function blockScratch(config: ModelConfig, { batch, length }: BatchShape, alloc: Alloc) {
  const { d_model: d, d_ff: F, n_heads: H, n_kv_heads: K, variant } = config;
  const M = batch * length;
  const kv = (K * d) / H;
  return {
    /** Of the residual stream: the output's when a block's backward begins, the input's when it ends. */
    dx: alloc([M, d]),
    /** Of a norm's output, and before that of the attention's. */
    dBranch: alloc([M, d]),
    dq: alloc([M, d]),
    dk: alloc([M, kv]),
    dv: alloc([M, kv]),
    dGate: variant === "gpt2" ? undefined : alloc([M, F]),
    dUp: alloc([M, F]),
    dAct: alloc([M, F]),
  };
}

/** What all blocks share. */
export interface BlockContext {
  backend: Backend;
  shape: AttentionShape;
  /** (context, D); none in gpt2 */
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
  /** none in gpt2 */
  gate?: Layer;
  up: Layer;
  down: Layer;
}

export function blockLayers(parameters: Parameters, gradients: Parameters, l: number): BlockLayers {
  const named = (name: string) => layer(parameters, gradients, `blocks.${l}.${name}`);
  const gated = `blocks.${l}.mlp.gate.weight` in parameters;
  return {
    attnNorm: named("attn_norm"),
    q: named("attn.q"),
    k: named("attn.k"),
    v: named("attn.v"),
    o: named("attn.o"),
    mlpNorm: named("mlp_norm"),
    gate: gated ? named("mlp.gate") : undefined,
    up: named("mlp.up"),
    down: named("mlp.down"),
  };
}

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

/** out = mid + act · W_downᵀ with act = silu(W_gate n)·(W_up n), or gelu(W_up n) in gpt2; n = norm(mid) */
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
