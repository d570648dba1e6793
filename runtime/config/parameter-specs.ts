import { architectureOf } from "./architecture.ts";
import type { ModelConfig } from "./config.ts";

/** The layers of a block, by the name that code uses; the value is the name in checkpoints, after `blocks.{i}.`. */
const BLOCK_LAYERS = {
  attnNorm: "attn_norm",
  q: "attn.q",
  k: "attn.k",
  v: "attn.v",
  o: "attn.o",
  mlpNorm: "mlp_norm",
  up: "mlp.up",
  down: "mlp.down",
} as const;
/** Only with a gated activation. */
const GATE = "mlp.gate";

export type BlockLayerNames = Record<keyof typeof BLOCK_LAYERS, string> & { gate?: string };

/** The name of the norm before the readout. */
export const FINAL_NORM = "final_norm";

/** The full names of block `l`'s layers in a checkpoint, to which `.weight` and `.bias` are appended. */
export function blockLayerNames(config: ModelConfig, l: number): BlockLayerNames {
  const full = (name: string) => `blocks.${l}.${name}`;
  const names = Object.fromEntries(Object.entries(BLOCK_LAYERS).map(([key, name]) => [key, full(name)]));
  const gate = architectureOf(config).activation === "swiglu" ? full(GATE) : undefined;
  return { ...names, gate } as BlockLayerNames;
}

/** One value per layer of block `l`: what `make` returns for the layer's full name. */
export function mapBlockLayers<T>(
  config: ModelConfig,
  l: number,
  make: (name: string) => T,
): Record<keyof typeof BLOCK_LAYERS, T> & { gate?: T } {
  const entries = Object.entries(blockLayerNames(config, l)).filter(([, name]) => name !== undefined);
  return Object.fromEntries(entries.map(([key, name]) => [key, make(name)])) as Record<
    keyof typeof BLOCK_LAYERS,
    T
  > & { gate?: T };
}

/** How a parameter is initialised; see `initialize`. */
export type Init = "normal" | "residual" | "basis" | "one" | "zero";
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
}

/** Every parameter of a model, in the order of `model.safetensors`: name, shape ([out, in] for linear weights), initialisation. */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const { vocab_size: V, d_model: d, n_signals: S = 0, d_ff } = config;
  const { factored, biases, position, queryWidth, kvWidth } = architectureOf(config);
  const specs: ParameterSpec[] = [];
  const put = (name: string, init: Init, ...shape: number[]) => specs.push({ name, shape, init });
  const norm = (name: string) => {
    put(`${name}.weight`, "one", d);
    if (biases) put(`${name}.bias`, "zero", d);
  };
  const linear = (name: string, out: number, inner: number, init: Init = "normal") => {
    put(`${name}.weight`, init, out, inner);
    if (biases) put(`${name}.bias`, "zero", out);
  };

  if (factored) {
    put("recipe", "normal", V, S);
    put("basis", "basis", S, d);
  } else {
    put("embedding", "normal", V, d);
  }
  if (position === "learned") put("position", "normal", config.context, d);
  for (let l = 0; l < config.n_layers; l++) {
    const names = blockLayerNames(config, l);
    norm(names.attnNorm);
    linear(names.q, queryWidth, d);
    linear(names.k, kvWidth, d);
    linear(names.v, kvWidth, d);
    linear(names.o, d, queryWidth, "residual");
    norm(names.mlpNorm);
    if (names.gate) linear(names.gate, d_ff, d);
    linear(names.up, d_ff, d);
    linear(names.down, d, d_ff, "residual");
  }
  norm(FINAL_NORM);
  return specs;
}

export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
}

/**
 * Floating-point operations per token of a training step, forward and backward: 6·N + 6·layers·d·T (Kaplan et al. 2020,
 * with the attention term for causal sequences of length T).
 */
export function flopsPerToken(config: ModelConfig, length: number): number {
  return 6 * parameterCount(config) + 6 * config.n_layers * config.d_model * length;
}
