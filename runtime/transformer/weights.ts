import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";
import { FINAL_NORM, mapBlockLayers, parameterSpecs } from "../config/parameter-specs.ts";
import { groupsOf } from "../formats/int8.ts";
import type { Affine } from "./layers.ts";
import type { Parameters } from "./parameters.ts";
import { ropeTable } from "./rope.ts";

export interface BlockWeights {
  attnNorm: Affine;
  /** (H·D, d), (K·D, d), (K·D, d), (d, H·D) */
  q: Affine;
  k: Affine;
  v: Affine;
  o: Affine;
  mlpNorm: Affine;
  /** (d_ff, d); only with a gated activation */
  gate?: Affine;
  /** (d_ff, d), (d, d_ff) */
  up: Affine;
  down: Affine;
}

/** A model's weights in the form that inference reads. Matrices are f32, f16 or i8; everything else is f32. */
export interface Weights {
  /** (V,S), as the model uses it: after top-k in `reflow-topk` */
  recipe?: Tensor;
  /** (S,d), and (d,S): decode kernels multiply by the rows of a matrix, and the input and the readout need one each */
  basis?: Tensor;
  basisTransposed?: Tensor;
  /** (V,d), if not factored */
  embedding?: Tensor;
  /** (context,d), with learned positions */
  position?: Tensor;
  /** (context,D), with rotary positions */
  rope?: Tensor;
  blocks: BlockWeights[];
  finalNorm: Affine;
}

/** Rows that {@link keepTopk} processes at a time. */
const TOPK_ROWS = 1024;

/**
 * Prepares parameters for inference: converts the small basis to f32 and also transposes it, and applies top-k to the
 * recipes of `reflow-topk`. The weights take ownership of the parameters' tensors.
 */
export async function prepareWeights(
  backend: Backend,
  config: ModelConfig,
  parameters: Parameters,
): Promise<Weights> {
  const { factored, topk, position, headDim } = architectureOf(config);
  const affine = (name: string): Affine => ({
    weight: parameters[`${name}.weight`],
    bias: parameters[`${name}.bias`],
  });
  const weights: Weights = {
    position: parameters.position,
    blocks: Array.from({ length: config.n_layers }, (_, l) => mapBlockLayers(config, l, affine)),
    finalNorm: affine(FINAL_NORM),
  };
  if (factored) {
    weights.recipe = parameters.recipe;
    if (topk !== undefined) await keepTopk(backend, parameters.recipe, topk);
    weights.basis = decodeTable(backend, parameters.basis);
    weights.basisTransposed = await transposed(backend, weights.basis);
  } else {
    weights.embedding = parameters.embedding;
  }
  if (position === "rope") {
    weights.rope = backend.alloc([config.context, headDim]);
    backend.write(weights.rope, ropeTable(config));
  }
  return weights;
}

/** Converts a table (R,C) to f32 and frees the original. */
function decodeTable(backend: Backend, table: Tensor): Tensor {
  if (table.dtype === "f32") return table;
  const [rows] = table.shape;
  const out = backend.alloc(table.shape);
  const ids = backend.alloc([rows], "i32");
  backend.write(
    ids,
    Int32Array.from({ length: rows }, (_, row) => row),
  );
  backend.gather(out, table, ids);
  backend.free(ids);
  backend.free(table);
  return out;
}

async function transposed(backend: Backend, matrix: Tensor): Promise<Tensor> {
  const [rows, columns] = matrix.shape;
  const values = await backend.read(matrix);
  const turned = new Float32Array(values.length);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) turned[column * rows + row] = values[i];
  }
  const out = backend.alloc([columns, rows]);
  backend.write(out, turned);
  return out;
}

/** table (V,S) = topk(relu(table)) in place, a block of rows at a time. Values kept in an f16 or i8 table keep their bits. */
async function keepTopk(backend: Backend, table: Tensor, k: number): Promise<void> {
  const [V, S] = table.shape;
  const rows = Math.min(TOPK_ROWS, V);
  const buffers = [backend.alloc([rows, S]), backend.alloc([rows, S])];
  const ids = backend.alloc([rows], "i32");
  for (let row = 0; row < V; row += rows) {
    const count = Math.min(rows, V - row);
    const [dense, sparse] = buffers.map((buffer) => backend.view(buffer, [count, S]));
    const some = backend.view(ids, [count]);
    backend.write(
      some,
      Int32Array.from({ length: count }, (_, i) => row + i),
    );
    backend.gather(dense, table, some);
    backend.topk(sparse, dense, k);
    if (table.dtype === "f32") {
      backend.copy(backend.view(table, [count, S], row * S), sparse);
    } else {
      const kept = await backend.read(sparse);
      const bits = await backend.read(table, row * S, count * S);
      for (let i = 0; i < bits.length; i++) if (kept[i] === 0) bits[i] = 0;
      backend.write(table, bits, row * S);
    }
  }
  for (const tensor of [...buffers, ids]) backend.free(tensor);
}

/** The number formats of matrices on a device: those of checkpoints, and f16, which a GPU can hold f32 weights in. */
export const DEVICE_WEIGHT_FORMATS = ["f32", "f16", "int8"] as const;
export type DeviceWeightFormat = (typeof DEVICE_WEIGHT_FORMATS)[number];

/** Bytes of a model's weights on a device, after {@link prepareWeights}. */
export function weightBytes(config: ModelConfig, weights: DeviceWeightFormat): number {
  const f32 = (shape: readonly number[]) => 4 * shape.reduce((a, b) => a * b, 1);
  const { position, headDim } = architectureOf(config);
  let bytes = position === "rope" ? f32([config.context, headDim]) : 0;
  for (const { name, shape } of parameterSpecs(config)) {
    if (name === "basis") bytes += 2 * f32(shape);
    else if (shape.length === 1 || weights === "f32") bytes += f32(shape);
    else if (weights === "f16") bytes += f32(shape) / 2;
    else bytes += shape[0] * (shape[1] + 4 * groupsOf(shape[1]));
  }
  return bytes;
}
