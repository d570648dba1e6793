import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";

export const VARIANTS = ["reflow", "reflow-topk", "reflow-lite", "gpt2-new", "gpt2"] as const;
export type Variant = (typeof VARIANTS)[number];

const dimension = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 24));

/** `config.json`'s schema. The keys are those of the reference implementation and of every checkpoint. */
const schema = v.object({
  variant: v.picklist(VARIANTS),
  vocab_size: dimension,
  /** S, the number of shared signals; absent in the unfactored variants */
  n_signals: v.optional(dimension),
  /** k of reflow-topk */
  top_k: v.optional(dimension),
  d_model: dimension,
  n_layers: dimension,
  n_heads: dimension,
  n_kv_heads: dimension,
  d_ff: dimension,
  context: dimension,
  rope_theta: v.optional(v.pipe(v.number(), v.finite(), v.minValue(1)), 10000),
});

/** A model's shape: everything needed to allocate and run it. */
export type ModelConfig = v.InferOutput<typeof schema>;

export const isFactored = (config: { variant: Variant }): boolean => config.variant.startsWith("reflow");

/** What a preset or a `--config` file says; the rest follows from the variant. */
export type PartialConfig = Partial<ModelConfig>;

const reflowWide = {
  d_model: 1024,
  n_signals: 1024,
  d_ff: 2816,
  n_heads: 16,
  context: 1024,
  vocab_size: 50304,
};

/** Published shapes and two small ones. `gpt2-new` is the unfactored twin of `reflow-1-big`. */
export const PRESETS: Record<string, PartialConfig & { variant: Variant }> = {
  // The quick start's: minutes on two cores.
  tiny: {
    variant: "reflow",
    n_layers: 4,
    d_model: 128,
    n_signals: 128,
    d_ff: 512,
    n_heads: 4,
    context: 128,
    vocab_size: 2048,
  },
  nano: {
    variant: "reflow",
    n_layers: 6,
    d_model: 256,
    n_signals: 256,
    d_ff: 768,
    n_heads: 4,
    context: 256,
    vocab_size: 8192,
  },
  small: {
    variant: "reflow",
    n_layers: 6,
    d_model: 512,
    n_signals: 512,
    d_ff: 1536,
    n_heads: 8,
    context: 1024,
    vocab_size: 50304,
  },
  "reflow-1": { variant: "reflow", n_layers: 32, ...reflowWide },
  "reflow-1-big": { variant: "reflow", n_layers: 36, ...reflowWide },
  "gpt2-new": { ...reflowWide, variant: "gpt2-new", n_layers: 36, n_signals: undefined },
};

/**
 * Completes and checks a config. What a variant implies (signals, key/value heads, d_ff, k) is filled in where it
 * isn't said; `variant` in `overrides` turns any preset into any variant.
 *
 * @throws ReflowError `config` naming the key, what was found and what was expected
 */
export function resolveConfig(base: PartialConfig, overrides: PartialConfig = {}): ModelConfig {
  const variant = overrides.variant ?? base.variant ?? "reflow";
  const said = { ...base, ...dropUndefined(overrides), variant };
  // A preset's d_ff and n_kv_heads are those of its own variant; another variant has its own rule.
  if (overrides.variant && overrides.variant !== base.variant) {
    if (overrides.n_kv_heads === undefined) said.n_kv_heads = undefined;
    if (
      overrides.d_ff === undefined &&
      [variant, base.variant].some((x) => x === "gpt2" || x === "reflow-lite")
    ) {
      said.d_ff = undefined;
    }
  }
  const d = said.d_model ?? 0;
  const heads = said.n_heads ?? 0;
  const factored = isFactored({ variant });
  return parseConfig({
    ...said,
    n_signals: factored ? (said.n_signals ?? d) : undefined,
    top_k: variant === "reflow-topk" ? (said.top_k ?? Math.min(64, said.n_signals ?? d)) : undefined,
    n_kv_heads: said.n_kv_heads ?? (variant === "reflow-lite" ? Math.max(1, Math.floor(heads / 4)) : heads),
    d_ff: said.d_ff ?? defaultFeedForward(variant, d),
  });
}

function defaultFeedForward(variant: Variant, d: number): number {
  if (variant === "reflow-lite") return 2 * d;
  if (variant === "gpt2") return 4 * d;
  return 256 * Math.ceil((8 * d) / 3 / 256);
}

/** Checks a complete config, as read from `config.json`. Unknown keys are left out. */
export function parseConfig(json: unknown, where = "config"): ModelConfig {
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const issue = result.issues[0];
    const key = issue.path?.map((part) => String(part.key)).join(".") ?? "the whole";
    const missing = issue.received === "undefined";
    throw new ReflowError(
      "config",
      `${where}: ${key} ${missing ? "is missing" : `is ${issue.received}, expected ${issue.expected}`}`,
      "is it a reFlow config.json? Its keys are vocab_size, d_model, n_layers, n_heads and so on",
    );
  }
  const c = dropUndefined(result.output) as ModelConfig;
  const wrong = (message: string, help: string): never => {
    throw new ReflowError("config", `${where}: ${message}`, help);
  };
  if (c.d_model % c.n_heads)
    wrong(`n_heads ${c.n_heads} does not divide d_model ${c.d_model}`, "use a divisor");
  if (c.n_heads % c.n_kv_heads) {
    wrong(`n_kv_heads ${c.n_kv_heads} does not divide n_heads ${c.n_heads}`, "use a divisor");
  }
  if (c.variant !== "gpt2" && (c.d_model / c.n_heads) % 2) {
    wrong(
      `the head width ${c.d_model / c.n_heads} is odd`,
      "rotary positions need an even d_model / n_heads",
    );
  }
  if (c.variant === "gpt2" && c.n_kv_heads !== c.n_heads) {
    wrong(`gpt2 has n_kv_heads = n_heads, found ${c.n_kv_heads} and ${c.n_heads}`, "leave n_kv_heads out");
  }
  if (isFactored(c) && !c.n_signals)
    wrong("n_signals is missing", `${c.variant} needs the number of signals`);
  if (c.variant === "reflow-topk" && !(c.top_k && c.top_k <= c.n_signals!)) {
    wrong(`top_k is ${c.top_k}`, `use 1 to n_signals = ${c.n_signals}`);
  }
  return c;
}

function dropUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, x]) => x !== undefined)) as T;
}

/** Where a parameter's first values come from; see `initialize`. */
export type Init = "normal" | "residual" | "basis" | "one" | "zero";
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
}

/** Every parameter of a model: name, shape ([out, in] for linear weights), first values; in `model.safetensors`' order. */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const { vocab_size: V, d_model: d, n_signals: S = 0, n_heads: H, n_kv_heads: K, d_ff, variant } = config;
  const D = d / H;
  const specs: ParameterSpec[] = [];
  const put = (name: string, init: Init, ...shape: number[]) => specs.push({ name, shape, init });
  const biased = variant === "gpt2";
  const norm = (name: string) => {
    put(`${name}.weight`, "one", d);
    if (biased) put(`${name}.bias`, "zero", d);
  };
  const linear = (name: string, out: number, inner: number, init: Init = "normal") => {
    put(`${name}.weight`, init, out, inner);
    if (biased) put(`${name}.bias`, "zero", out);
  };

  if (isFactored(config)) {
    put("recipe", "normal", V, S);
    put("basis", "basis", S, d);
  } else {
    put("embedding", "normal", V, d);
  }
  if (variant === "gpt2") put("position", "normal", config.context, d);
  for (let l = 0; l < config.n_layers; l++) {
    norm(`blocks.${l}.attn_norm`);
    linear(`blocks.${l}.attn.q`, H * D, d);
    linear(`blocks.${l}.attn.k`, K * D, d);
    linear(`blocks.${l}.attn.v`, K * D, d);
    linear(`blocks.${l}.attn.o`, d, H * D, "residual");
    norm(`blocks.${l}.mlp_norm`);
    if (variant !== "gpt2") linear(`blocks.${l}.mlp.gate`, d_ff, d);
    linear(`blocks.${l}.mlp.up`, d_ff, d);
    linear(`blocks.${l}.mlp.down`, d, d_ff, "residual");
  }
  norm("final_norm");
  return specs;
}

export function parameterCount(config: ModelConfig): number {
  return parameterSpecs(config).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
}

/**
 * Floating-point operations a training step spends per token, forward and backward: 6·N + 6·layers·d·T
 * (Kaplan et al. 2020, with attention's share for causal sequences of length T).
 */
export function flopsPerToken(config: ModelConfig, length: number): number {
  return 6 * parameterCount(config) + 6 * config.n_layers * config.d_model * length;
}
