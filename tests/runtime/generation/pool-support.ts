import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import type { PartialConfig, Variant } from "../../../runtime/config/config.ts";
import type { GenerateEvent, GenerateOptions, Prompt } from "../../../runtime/generation/options.ts";
import type { GenerationPool } from "../../../runtime/generation/pool.ts";
import { Model } from "../../../runtime/model/model.ts";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { makeModel, tinyConfig, type WeightType } from "../transformer/inference-support.ts";

/** 256 bytes, "ab", and <|endoftext|>; the models' vocabulary is padded to 263. */
export const tokenizer = trainBpe(["ab ab ab"], 258);

export async function makePoolModel(
  backend: Backend,
  { variant = "reflow" as Variant, type = "f32" as WeightType, ...config }: PooledOptions = {},
): Promise<Model> {
  const shape = tinyConfig(variant, { vocab_size: 263, ...config });
  return new Model({ ...(await makeModel(backend, shape, type)), checkpoint: "0".repeat(64) }, tokenizer);
}

export interface PooledOptions extends Omit<PartialConfig, "variant"> {
  variant?: Variant;
  type?: WeightType;
}

export const all = (events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> =>
  Array.fromAsync(events);

/** The same request without a pool. */
export const generateDirectly = (
  model: Model,
  prompt: Prompt,
  options?: GenerateOptions,
): Promise<GenerateEvent[]> => all(model.generate(prompt, options));

/** Starts a request and waits for its first event. */
export async function startRequest(pool: GenerationPool, prompt: Prompt, options?: GenerateOptions) {
  const events = pool.generate(prompt, options);
  const first = await events.next();
  return { events, first };
}

/** Lets pending work run for some turns of the event loop. */
export async function yieldToEventLoop(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Waits until a condition holds, for at most about two seconds. */
export async function waitUntil(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i === 2000) throw new Error("the condition did not become true");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
