import { parseConfig } from "../../../runtime/config/config.ts";
import { writeCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { f32Entries } from "../../../runtime/formats/checkpoint-tensors.ts";
import { elementsOf } from "../../../runtime/formats/safetensors.ts";

/** A model whose matrices have complete and shorter groups of 32 columns. */
export const tinyConfig = parseConfig({
  variant: "reflow",
  vocab_size: 97,
  n_signals: 40,
  d_model: 32,
  n_layers: 2,
  n_heads: 4,
  n_kv_heads: 4,
  d_ff: 48,
  context: 16,
});

/** Values in [-1, 1) that depend only on the seed. */
export function randomValues(length: number, seed = 1): Float32Array<ArrayBuffer> {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

export const tokenizerJson = { version: "1.0", model: { type: "BPE", vocab: { a: 0, é: 1 }, merges: [] } };

/** Writes a complete checkpoint with random weights. */
export function writeRandomCheckpoint(folder: string, seed = 1, config = tinyConfig): Promise<void> {
  return writeCheckpoint(folder, (files) => {
    files.json("config.json", config);
    files.json("tokenizer.json", tokenizerJson);
    files.json("trainer.json", { step: seed });
    const entries = f32Entries(config);
    for (const name of ["model.safetensors", "optimizer.safetensors"]) {
      const file = files.tensors(name, entries);
      for (const { name: tensor, shape } of entries)
        file.write(tensor, randomValues(elementsOf(shape), seed));
    }
  });
}
