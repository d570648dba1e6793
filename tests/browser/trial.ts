import { createBackend } from "../../runtime/backend/create.ts";
import { type LoadModelOptions, loadModel, Model } from "../../runtime/mod.ts";
import { AdamW } from "../../runtime/transformer/optimizer.ts";
import { initialize } from "../../runtime/transformer/parameters.ts";
import { TrainableModel } from "../../runtime/transformer/trainable-model.ts";
import { prepareWeights } from "../../runtime/transformer/weights.ts";

const TEXT = "the people of the sea went to the king, and the queen was great. ";
const [STEPS, BATCH, LENGTH] = [10, 2, 24];

/** The results of training and sampling on one device. */
export interface Trial {
  device: string;
  /** Losses of a new model with the checkpoint's config, before each of ten steps on batches of {@link TEXT}, in nats. */
  losses: number[];
  /** The greedy continuation of "the" under the new model. */
  trained: string;
  /** Token ids sampled from the checkpoint itself after "the king". */
  sampled: number[];
}

/** Trains and samples on a device, in a page or in another runtime. */
export async function tryDevice(checkpoint: string | URL, options: LoadModelOptions): Promise<Trial> {
  using loaded = await loadModel(checkpoint, options);
  const { config, tokenizer, device } = loaded;
  const sampled: number[] = [];
  for await (const event of loaded.generate("the king", { maxTokens: 8, seed: 1 })) {
    if (event.type === "token") sampled.push(event.id);
  }

  const backend = await createBackend(options.device ?? "auto", options);
  const parameters = initialize(backend, config, { seed: 1 });
  const model = new TrainableModel(backend, config, parameters, { batch: BATCH, length: LENGTH });
  const optimizer = new AdamW(backend, config, parameters, model.gradients);
  const text = tokenizer.encode(TEXT);
  const losses: number[] = [];
  for (let step = 1; step <= STEPS; step++) {
    const at = (shift: number) =>
      Int32Array.from({ length: BATCH * LENGTH }, (_, i) => text[(31 * step + i + shift) % text.length]);
    model.forwardBackward(at(0), at(1));
    losses.push(await model.loss());
    optimizer.step({ lr: 0.005, step });
  }
  using after = new Model(
    { backend, config, weights: await prepareWeights(backend, config, parameters) },
    tokenizer,
  );
  let trained = "";
  for await (const event of after.generate("the", { maxTokens: 12, temperature: 0, repetitionPenalty: 2 }))
    trained += event.text;
  return { device, losses, trained, sampled };
}
