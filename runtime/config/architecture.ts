/**
 * The facts of a model's architecture, derived once from its config and read everywhere else: by the forward and backward
 * passes, inference, parameters, hooks and memory estimates. A new variant is described here, in {@link parameterSpecs},
 * and in the layers that implement whatever is new about it.
 */
import { isFactored, type ModelConfig } from "./config.ts";

export interface Architecture {
  /** E = R·B; otherwise one embedding matrix E. In both cases the output projection is the same product (tied). */
  readonly factored: boolean;
  /** R is used as TopK(relu(R), k) per row. */
  readonly topk: number | undefined;
  readonly norm: "rmsnorm" | "layernorm";
  readonly position: "rope" | "learned";
  /** `swiglu` has a gate matrix beside `up`; `gelu` is the tanh approximation. */
  readonly activation: "swiglu" | "gelu";
  /** Whether linear layers and norms have biases. */
  readonly biases: boolean;
  /** D, the width of a head. */
  readonly headDim: number;
  /** H·D, the width of the queries and of the attention's output at one position. */
  readonly queryWidth: number;
  /** K·D, the width of the keys and values of one position. */
  readonly kvWidth: number;
}

export function architectureOf(config: ModelConfig): Architecture {
  const isGpt2 = config.variant === "gpt2";
  const headDim = config.d_model / config.n_heads;
  return {
    factored: isFactored(config),
    topk: config.variant === "reflow-topk" ? config.top_k : undefined,
    norm: isGpt2 ? "layernorm" : "rmsnorm",
    position: isGpt2 ? "learned" : "rope",
    activation: isGpt2 ? "gelu" : "swiglu",
    biases: isGpt2,
    headDim,
    queryWidth: config.n_heads * headDim,
    kvWidth: config.n_kv_heads * headDim,
  };
}
