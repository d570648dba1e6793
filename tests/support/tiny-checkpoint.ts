import { type ModelConfig, type PartialConfig, resolveConfig } from "../../runtime/config/config.ts";
import { writeCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { f32Entries } from "../../runtime/formats/checkpoint-tensors.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { trainBpe } from "../../runtime/text/train-bpe.ts";
import { initialize } from "../../runtime/transformer/parameters.ts";
import { ReferenceBackend } from "./reference-backend.ts";

const TEXT = "the king and the queen of the people went to the sea, and the sea was great. ";

/** A tokenizer whose vocabulary is the bytes and some words of {@link TEXT}. */
export const tinyTokenizer: Tokenizer = trainBpe([TEXT], 290);

/** Writes an untrained model with 300 rows, ten more than its tokenizer has tokens, in the form that the trainer writes. */
export async function writeTinyCheckpoint(
  folder: string,
  overrides: PartialConfig = {},
): Promise<ModelConfig> {
  const config = resolveConfig({
    variant: "reflow",
    vocab_size: 300,
    n_signals: 24,
    d_model: 32,
    n_layers: 2,
    n_heads: 4,
    d_ff: 48,
    context: 48,
    ...overrides,
  });
  const backend = new ReferenceBackend();
  const parameters = initialize(backend, config, { seed: 1 });
  await writeCheckpoint(folder, async (files) => {
    files.json("config.json", config);
    files.json("tokenizer.json", tinyTokenizer);
    files.json("trainer.json", { position: { step: 1234, skipped: 0 } });
    const file = files.tensors("model.safetensors", f32Entries(config));
    for (const [name, tensor] of Object.entries(parameters)) {
      file.write(name, (await backend.read(tensor)) as Float32Array);
    }
  });
  return config;
}
