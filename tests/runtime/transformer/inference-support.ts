import { afterAll, beforeAll, describe } from "bun:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import {
  type ModelConfig,
  type PartialConfig,
  resolveConfig,
  type Variant,
} from "../../../runtime/config/config.ts";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import { f32ToF16 } from "../../../runtime/formats/f16.ts";
import { quantizeRows } from "../../../runtime/formats/int8.ts";
import { Random } from "../../../runtime/math/random.ts";
import type { InferenceModel } from "../../../runtime/transformer/inference.ts";
import type { Parameters } from "../../../runtime/transformer/parameters.ts";
import { prepareWeights } from "../../../runtime/transformer/weights.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";

export type WeightType = "f32" | "f16" | "i8";

/** A config with two layers and widths that are not multiples of a SIMD register. */
export function tinyConfig(variant: Variant, overrides: PartialConfig = {}): ModelConfig {
  return resolveConfig({
    variant,
    vocab_size: 61,
    n_signals: variant.startsWith("reflow") ? 20 : undefined,
    top_k: variant === "reflow-topk" ? 4 : undefined,
    d_model: 24,
    n_layers: 2,
    n_heads: 4,
    d_ff: 40,
    context: 24,
    ...overrides,
  });
}

/** Weights large enough for every token to matter, and the same for each backend. */
export function randomValues(config: ModelConfig, seed = 1): Map<string, Float32Array> {
  return new Map(
    parameterSpecs(config).map(({ name, shape, init }) => {
      const random = new Random(`${seed}/${name}`);
      const mean = init === "one" ? 1 : 0;
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, Float32Array.from({ length: size }, () => mean + 0.3 * random.normal())];
    }),
  );
}

export async function makeModel(
  backend: Backend,
  config: ModelConfig,
  type: WeightType = "f32",
  values = randomValues(config),
): Promise<InferenceModel> {
  const parameters: Parameters = {};
  for (const { name, shape } of parameterSpecs(config)) {
    const data = values.get(name)!;
    const tensor = backend.alloc(shape, shape.length === 1 ? "f32" : type);
    parameters[name] = tensor;
    if (tensor.dtype === "f16") backend.write(tensor, f32ToF16(data));
    else if (tensor.scale) {
      const { values: rounded, scale } = quantizeRows(data, shape[0], shape[1]);
      backend.write(tensor, rounded);
      backend.write(tensor.scale, scale);
    } else backend.write(tensor, data);
  }
  return { backend, config, weights: await prepareWeights(backend, config, parameters) };
}

export function randomIds(config: ModelConfig, length: number, seed = 1): Int32Array {
  const random = new Random(`${seed}/ids`);
  return Int32Array.from({ length }, () => Math.floor(random.uniform() * config.vocab_size));
}

/** Runs a suite on the float64 reference backend and on WASM with two threads. */
export function onBackends(suite: (backend: () => Backend) => void): void {
  const makers: [string, () => Backend | Promise<Backend>][] = [
    ["reference", () => new ReferenceBackend()],
    ["wasm", () => createWasmBackend({ threads: 2 })],
  ];
  for (const [name, make] of makers) {
    describe(name, () => {
      let backend: Backend;
      beforeAll(async () => {
        backend = await make();
      });
      afterAll(() => backend.dispose());
      suite(() => backend);
    });
  }
}
