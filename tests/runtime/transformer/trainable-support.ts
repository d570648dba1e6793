import {
  type ModelConfig,
  type PartialConfig,
  resolveConfig,
  type Variant,
} from "../../../runtime/config/config.ts";
import { Random } from "../../../runtime/math/random.ts";
import { initialize } from "../../../runtime/transformer/parameters.ts";
import { TrainableModel } from "../../../runtime/transformer/trainable-model.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";

/** A config with two layers and very small widths. */
export const trainableConfig = (variant: Variant, overrides: PartialConfig = {}): ModelConfig =>
  resolveConfig({
    variant,
    n_layers: 2,
    d_model: 8,
    n_heads: 2,
    d_ff: 10,
    context: 8,
    vocab_size: 11,
    ...(variant.startsWith("reflow") ? { n_signals: 6 } : {}),
    ...(variant === "reflow-topk" ? { top_k: 3 } : {}),
    ...overrides,
  });

/** A model whose weights are large enough for every nonlinearity to matter. */
export function makeTrainable(config: ModelConfig, shape: { batch: number; length: number }) {
  const backend = new ReferenceBackend();
  const parameters = initialize(backend, config, { seed: 7, basisInit: "normal" });
  for (const tensor of Object.values(parameters)) {
    const random = new Random(`${tensor.shape}`);
    const values = backend.values(tensor);
    for (let i = 0; i < values.length; i++) values[i] += 0.3 * random.normal();
  }
  return { backend, parameters, model: new TrainableModel(backend, config, parameters, shape) };
}

/** Random ids, determined by the key. */
export const randomTokens = (config: ModelConfig, count: number, key: string): Int32Array => {
  const random = new Random(key);
  return Int32Array.from({ length: count }, () => Math.floor(random.uniform() * config.vocab_size));
};
