import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";

export const VARIANTS = ["reflow", "reflow-topk", "reflow-lite", "gpt2-new", "gpt2"] as const;
export type Variant = (typeof VARIANTS)[number];

/** Whether a variant's embedding is factored. */
export const isFactored = (config: { variant: Variant }): boolean => config.variant.startsWith("reflow");

const dimension = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 24));

/** The schema of `config.json`. Keys are those of the reference implementation and of every checkpoint. */
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

/** A model's configuration: everything needed to allocate and run it. */
export type ModelConfig = v.InferOutput<typeof schema>;

/** The keys that a preset or a `--config` file sets; the rest follows from the variant. */
export type PartialConfig = Partial<ModelConfig>;

/**
 * Completes and checks a config. Keys that are absent (signals, key/value heads, d_ff, k) get the variant's defaults;
 * `variant` in `overrides` turns any preset into any variant.
 *
 * @throws ReflowError `config` naming the key, what was found and what was expected
 */
export function resolveConfig(base: PartialConfig, overrides: PartialConfig = {}): ModelConfig {
  const variant = overrides.variant ?? base.variant ?? "reflow";
  const merged = { ...base, ...dropUndefined(overrides), variant };
  // A preset's d_ff and n_kv_heads belong to its own variant; another variant uses its own rule.
  if (overrides.variant && overrides.variant !== base.variant) {
    if (overrides.n_kv_heads === undefined) merged.n_kv_heads = undefined;
    if (
      overrides.d_ff === undefined &&
      [variant, base.variant].some((x) => x === "gpt2" || x === "reflow-lite")
    ) {
      merged.d_ff = undefined;
    }
  }
  const d = merged.d_model ?? 0;
  const heads = merged.n_heads ?? 0;
  const factored = isFactored({ variant });
  return parseConfig({
    ...merged,
    n_signals: factored ? (merged.n_signals ?? d) : undefined,
    top_k: variant === "reflow-topk" ? (merged.top_k ?? Math.min(64, merged.n_signals ?? d)) : undefined,
    n_kv_heads: merged.n_kv_heads ?? (variant === "reflow-lite" ? Math.max(1, Math.floor(heads / 4)) : heads),
    d_ff: merged.d_ff ?? defaultFeedForward(variant, d),
  });
}

function defaultFeedForward(variant: Variant, d: number): number {
  if (variant === "reflow-lite") return 2 * d;
  if (variant === "gpt2") return 4 * d;
  return 256 * Math.ceil((8 * d) / 3 / 256);
}

/** Checks a complete config, as read from `config.json`. Unknown keys are dropped. */
export function parseConfig(json: unknown, where = "config"): ModelConfig {
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const issue = result.issues[0];
    const key = issue.path?.map((part) => String(part.key)).join(".") ?? "the config";
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
