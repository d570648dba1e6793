import type { PartialConfig, Variant } from "./config.ts";

const reflowWide = {
  d_model: 1024,
  n_signals: 1024,
  d_ff: 2816,
  n_heads: 16,
  context: 1024,
  vocab_size: 50304,
};

/** The published shapes and two small ones. `gpt2-new` is the unfactored twin of `reflow-1-big`. */
export const PRESETS: Record<string, PartialConfig & { variant: Variant }> = {
  // For the quick start: trains in minutes on two cores.
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
