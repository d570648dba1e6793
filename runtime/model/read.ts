/** Reads checkpoints from any source onto a device. */
import type { Backend, HostArray, Tensor } from "../backend/contract/backend.ts";
import type { DeviceName } from "../backend/contract/device-name.ts";
import { type BackendOptions, createBackend } from "../backend/create.ts";
import type { ModelConfig } from "../config/config.ts";
import { parameterSpecs } from "../config/parameter-specs.ts";
import type { WeightFormat } from "../formats/checkpoint-tensors.ts";
import { groupsOf, quantizeRows } from "../formats/int8.ts";
import type { TensorReader } from "../formats/tensor-reader.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import type { Parameters } from "../transformer/parameters.ts";
import { prepareWeights } from "../transformer/weights.ts";
import { Model } from "./model.ts";

export interface ReadModelOptions {
  /**
   * `int8` reads `model.int8.safetensors`, or quantises the f32 weights as they are read. Default: the checkpoint's format.
   */
  weights?: WeightFormat;
}

export interface LoadModelOptions extends ReadModelOptions, BackendOptions {
  /** Default: `auto`. */
  device?: DeviceName;
}

/** A checkpoint open for reading. */
export interface ModelSource {
  readonly config: ModelConfig;
  /** The content of `tokenizer.json` in Hugging Face's format, if the checkpoint has one. */
  readonly tokenizerJson?: unknown;
  /** SHA-256 of the f32 `model.safetensors`, if known. */
  readonly identity?: string;
  /** The format of `tensors`. */
  readonly weights: WeightFormat;
  readonly tensors: TensorReader;
}

/** Elements quantised to int8 at a time. */
const CHUNK = 2 ** 18;

/** Creates a backend and reads an open checkpoint onto it. */
export async function startModel(source: ModelSource, options: LoadModelOptions): Promise<Model> {
  const backend = await createBackend(options.device ?? "auto", options);
  try {
    return await readModel(backend, source, options);
  } catch (error) {
    backend.dispose();
    throw error;
  }
}

/** Reads an open checkpoint onto a backend, in chunks, and returns the model. */
export async function readModel(
  backend: Backend,
  source: ModelSource,
  { weights }: ReadModelOptions = {},
): Promise<Model> {
  const { config, tokenizerJson, tensors: file, weights: stored } = source;
  const tokenizer = tokenizerJson === undefined ? undefined : Tokenizer.fromJSON(tokenizerJson);
  const dtypeOf = (name: string, shape: readonly number[]) => {
    if (shape.length === 1) return "f32";
    if (weights === "int8" || stored === "int8") return "i8";
    return weights === undefined && file.tensors.get(name)?.dtype === "F16" ? "f16" : "f32";
  };
  // Everything is allocated first, so that insufficient memory is reported before anything is read.
  const parameters: Parameters = Object.fromEntries(
    parameterSpecs(config).map(({ name, shape }) => [name, backend.alloc(shape, dtypeOf(name, shape))]),
  );
  // In the order of the file, which may be a stream.
  for (const name of file.tensors.keys()) {
    await readTensor(backend, file, name, parameters[name] ?? parameters[name.replace(/\.scale$/, "")].scale);
  }
  const prepared = await prepareWeights(backend, config, parameters);
  return new Model({ backend, config, weights: prepared, checkpoint: source.identity }, tokenizer);
}

/** Reads one tensor of the file in the dtype of its device tensor. */
async function readTensor(backend: Backend, file: TensorReader, name: string, tensor: Tensor): Promise<void> {
  const write = (chunk: HostArray, offset: number) => backend.write(tensor, chunk, offset);
  if (tensor.dtype === "f32") {
    await file.readF32(name, write);
  } else if (tensor.dtype === "f16" || file.tensors.get(name)?.dtype === "I8") {
    await file.read(name, write);
  } else {
    const [, columns] = tensor.shape;
    // Four rows of int8 are whole 32-bit words for any number of columns, as writes to a GPU require.
    const rowsAtOnce = 4 * Math.max(1, Math.floor(CHUNK / (4 * columns)));
    const round = (chunk: Float32Array, offset: number) => {
      const { values, scale } = quantizeRows(chunk, chunk.length / columns, columns);
      backend.write(tensor, values, offset);
      backend.write(tensor.scale!, scale, (offset / columns) * groupsOf(columns));
    };
    await file.readF32(name, round, rowsAtOnce * columns);
  }
}
