import { ReflowError } from "../common/errors.ts";
import type { ModelConfig } from "../config/config.ts";
import { parameterSpecs } from "../config/parameter-specs.ts";
import { groupsOf } from "./int8.ts";
import type { SafetensorsDType, TensorEntry } from "./safetensors.ts";
import type { TensorReader } from "./tensor-reader.ts";

/** The number formats of checkpoints, and the file of each. */
export const WEIGHT_FILES = { f32: "model.safetensors", int8: "model.int8.safetensors" } as const;
export type WeightFormat = keyof typeof WEIGHT_FILES;
export const WEIGHT_FORMATS = Object.keys(WEIGHT_FILES) as WeightFormat[];
/**
 * Held-out text with documents separated by `<|endoftext|>`, used by experiments and as the reference text of interventions
 * unless another is given. Optional in a checkpoint.
 */
export const HELD_OUT = "held-out.txt";

/** The tensors of `model.safetensors`, in order. */
export function f32Entries(config: ModelConfig): TensorEntry[] {
  return parameterSpecs(config).map(({ name, shape }) => ({ name, dtype: "F32", shape }));
}

/**
 * The tensors of `model.int8.safetensors`, in order: matrices as I8 followed by their scales, one-dimensional
 * tensors as F32.
 */
export function int8Entries(config: ModelConfig): TensorEntry[] {
  return parameterSpecs(config).flatMap(({ name, shape }): TensorEntry[] => {
    if (shape.length === 1) return [{ name, dtype: "F32", shape }];
    const [rows, columns] = shape;
    return [
      { name, dtype: "I8", shape },
      { name: `${name}.scale`, dtype: "F32", shape: [rows, groupsOf(columns)] },
    ];
  });
}

/**
 * Checks that a file holds exactly the tensors of a config.
 *
 * @throws ReflowError `checkpoint` naming missing and unexpected tensors, or the first with a wrong dtype or shape
 */
export function checkTensors(file: TensorReader, config: ModelConfig, weights: WeightFormat): void {
  const wrong = (what: string) =>
    new ReflowError(
      "checkpoint",
      `${file.path}: ${what}`,
      "config.json and the weights must be of the same model",
    );
  // Checked before listing the parameters of a possibly hostile config.
  if (config.n_layers > file.tensors.size) {
    throw wrong(`${file.tensors.size} tensors are too few for n_layers ${config.n_layers} of config.json`);
  }
  const expected = weights === "int8" ? int8Entries(config) : f32Entries(config);
  const names = new Set(expected.map(({ name }) => name));
  const missing = [...names].filter((name) => !file.tensors.has(name));
  const unexpected = [...file.tensors.keys()].filter((name) => !names.has(name));
  const problems = [
    ...(missing.length ? [`missing tensors: ${list(missing)}`] : []),
    ...(unexpected.length ? [`unexpected tensors: ${list(unexpected)}`] : []),
  ];
  if (problems.length) throw wrong(problems.join("; "));

  // Other tools also save half precision, which is widened when it is read.
  const accepted: readonly SafetensorsDType[] = ["F32", "F16", "BF16"];
  for (const { name, dtype, shape } of expected) {
    const found = file.tensors.get(name)!;
    if (found.dtype !== dtype && !(weights === "f32" && accepted.includes(found.dtype))) {
      throw wrong(`tensor "${name}" is ${found.dtype}, expected ${dtype}`);
    }
    if (found.shape.join() !== shape.join()) {
      throw wrong(`tensor "${name}" has the shape [${found.shape}], config.json needs [${shape}]`);
    }
  }
}

const list = (names: string[]): string =>
  names.slice(0, 5).join(", ") + (names.length > 5 ? ` and ${names.length - 5} more` : "");
