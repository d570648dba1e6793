/** Checkpoints from a disk to a device. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Backend, HostArray, Tensor } from "../backend/backend.ts";
import { createWasmBackend } from "../backend/wasm/mod.ts";
import { ReflowError } from "../errors.ts";
import { type Checkpoint, openCheckpoint, resolveCheckpoint, WEIGHT_FILES } from "../formats/checkpoint.ts";
import { groupsOf, quantizeRows } from "../formats/int8.ts";
import type { TensorFile } from "../formats/tensor-file.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { parameterSpecs } from "./config.ts";
import { Model } from "./model.ts";
import type { Parameters } from "./parameters.ts";
import { prepareWeights } from "./weights.ts";

export interface ReadModelOptions {
  /**
   * `int8` takes `model.int8.safetensors`, or rounds the f32 weights to int8 as they are read. As the checkpoint has
   * them where it isn't said.
   */
  weights?: "f32" | "int8";
}

export interface LoadModelOptions extends ReadModelOptions {
  /** `auto` takes the best there is. */
  device?: "auto" | "wasm";
  /** Of the WASM backend: one a core where it isn't said. */
  threads?: number;
}

/** Elements rounded to int8 at once. */
const CHUNK = 2 ** 18;

/**
 * Loads a checkpoint's folder, or a run's newest checkpoint, onto a device of its own.
 *
 * @throws ReflowError naming the file and what is wrong with it; `device` for an unknown device, `memory` where the
 *   weights don't fit
 */
export async function loadModel(path: string, options: LoadModelOptions = {}): Promise<Model> {
  const { device = "auto", threads } = options;
  if (device !== "auto" && device !== "wasm") {
    throw new ReflowError("device", `no device "${device}"`, "use auto or wasm");
  }
  // Before the workers start: most that can be wrong is.
  const checkpoint = openWeights(path, options);
  try {
    const backend = await createWasmBackend({ threads });
    try {
      return await readModel(backend, checkpoint, options);
    } catch (error) {
      backend.dispose();
      throw error;
    }
  } finally {
    checkpoint.close();
  }
}

/** Opens a checkpoint for {@link readModel}. */
export function openWeights(path: string, { weights }: ReadModelOptions = {}): Checkpoint {
  const quantized = existsSync(join(resolveCheckpoint(path), WEIGHT_FILES.int8));
  return openCheckpoint(path, { weights: weights === "int8" && !quantized ? "f32" : weights });
}

/** Reads an open checkpoint's parameters onto a backend, in pieces, and makes a model of them. */
export async function readModel(
  backend: Backend,
  checkpoint: Checkpoint,
  { weights }: ReadModelOptions = {},
): Promise<Model> {
  const { config, tokenizerJson, tensors } = checkpoint;
  const tokenizer = tokenizerJson === undefined ? undefined : Tokenizer.fromJSON(tokenizerJson);
  const dtypeOf = (name: string, shape: readonly number[]) => {
    if (shape.length === 1) return "f32";
    if (weights === "int8" || checkpoint.weights === "int8") return "i8";
    return weights === undefined && tensors.tensors.get(name)?.dtype === "F16" ? "f16" : "f32";
  };
  // All of them first: where there isn't enough memory, it shows before anything is read.
  const parameters: Parameters = Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [name, backend.alloc(shape, dtypeOf(name, shape))]),
  );
  for (const [name, tensor] of Object.entries(parameters)) readParameter(backend, tensors, name, tensor);
  return new Model(
    { backend, config, weights: await prepareWeights(backend, config, parameters) },
    tokenizer,
  );
}

/** One parameter as its tensor's dtype wants it. */
function readParameter(backend: Backend, file: TensorFile, name: string, tensor: Tensor): void {
  const write = (target: Tensor) => (chunk: HostArray, offset: number) =>
    backend.write(target, chunk, offset);
  if (tensor.dtype === "f32") {
    file.readF32(name, write(tensor));
  } else if (tensor.dtype === "f16" || file.tensors.get(name)?.dtype === "I8") {
    file.read(name, write(tensor));
    if (tensor.scale) file.readF32(`${name}.scale`, write(tensor.scale));
  } else {
    const [, columns] = tensor.shape;
    const rowsAtOnce = Math.max(1, Math.floor(CHUNK / columns));
    const round = (chunk: Float32Array, offset: number) => {
      const { values, scale } = quantizeRows(chunk, chunk.length / columns, columns);
      backend.write(tensor, values, offset);
      backend.write(tensor.scale!, scale, (offset / columns) * groupsOf(columns));
    };
    file.readF32(name, round, rowsAtOnce * columns);
  }
}
