/** Loads checkpoints from disk to a device. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint, resolveCheckpoint } from "../formats/checkpoint.ts";
import { WEIGHT_FILES } from "../formats/checkpoint-tensors.ts";
import type { Model } from "./model.ts";
import { type LoadModelOptions, type ReadModelOptions, startModel } from "./read.ts";

/**
 * Loads a checkpoint folder, or a run's newest checkpoint, onto a device of its own.
 *
 * @param from a path, or a `file:` URL
 * @throws ReflowError naming the file and the problem; `usage` for an unknown device, `device` for one that is unavailable,
 *   `memory` if the weights do not fit
 */
export async function loadModel(from: string | URL, options: LoadModelOptions = {}): Promise<Model> {
  // Opened before the workers start, because most errors are found here.
  const checkpoint = openWeights(typeof from === "string" ? from : fileURLToPath(from), options);
  try {
    return await startModel(checkpoint, options);
  } finally {
    checkpoint.close();
  }
}

/** Opens a checkpoint for `readModel`. */
export function openWeights(path: string, { weights }: ReadModelOptions = {}): Checkpoint {
  const quantized = existsSync(join(resolveCheckpoint(path), WEIGHT_FILES.int8));
  return openCheckpoint(path, { weights: weights === "int8" && !quantized ? "f32" : weights });
}
