import type { ModelConfig, PartialConfig, Variant } from "../../../runtime/config/config.ts";
import type { GenerateOptions, Prompt } from "../../../runtime/generation/options.ts";
import { Model } from "../../../runtime/model/model.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { makeModel, randomValues, tinyConfig, type WeightType } from "../transformer/inference-support.ts";

/** Single tokens of the tiny tokenizer. */
export const THE = tinyTokenizer.tokenId(" the")!;
export const SEA = tinyTokenizer.tokenId(" sea")!;
export const WAS = tinyTokenizer.tokenId(" was")!;

export interface Setting {
  config: ModelConfig;
  values: Map<string, Float32Array>;
  backend: ReferenceBackend;
  inner: Awaited<ReturnType<typeof makeModel>>;
  model: Model;
  /** Row i of a parameter. */
  row(name: string, i: number): number[];
}

/** A random model on the float64 reference, with the tiny tokenizer and ten rows of padding. */
export async function setUp(
  variant: Variant = "reflow",
  overrides: PartialConfig = {},
  type: WeightType = "f32",
): Promise<Setting> {
  const config = tinyConfig(variant, { vocab_size: 300, ...overrides });
  const values = randomValues(config);
  const backend = new ReferenceBackend();
  const inner = await makeModel(backend, config, type, values);
  const row = (name: string, i: number) => {
    const columns = name === "recipe" ? config.n_signals! : config.d_model;
    return [...values.get(name)!.subarray(i * columns, (i + 1) * columns)];
  };
  return { config, values, backend, inner, model: new Model(inner, tinyTokenizer), row };
}

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);

export const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));

/** Σ c·row. */
export const combine = (...terms: [c: number, row: readonly number[]][]): number[] =>
  terms[0][1].map((_, i) => terms.reduce((sum, [c, row]) => sum + c * row[i], 0));

/** The continuation of one prompt. */
export interface Generated {
  ids: number[];
  logprobs: number[];
}

export async function generateAll(
  model: Model,
  prompts: Prompt[],
  options: GenerateOptions,
): Promise<Generated[]> {
  const out = prompts.map((): Generated => ({ ids: [], logprobs: [] }));
  for await (const event of model.generate(prompts, { logprobs: 0, ...options })) {
    if (event.type === "finish") continue;
    out[event.index].ids.push(event.id);
    out[event.index].logprobs.push(event.logprob!);
  }
  return out;
}
