import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { isFactored, type ModelConfig, parameterSpecs } from "../config/config.ts";
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
  /** (d_ff, d); absent in `gpt2` */
  gate?: Affine;
  /** (d_ff, d), (d, d_ff) */
  up: Affine;
  down: Affine;
}

/** A model's weights as inference reads them. Matrices are f32, f16 or i8, everything else is f32. */
export interface Weights {
  /** (V,S), as the model uses it: of `reflow-topk` what top-k leaves */
  recipe?: Tensor;
  /** (S,d), and (d,S): both ends of the model are products with the rows of a matrix, as decode kernels have them */
  basis?: Tensor;
  basisTransposed?: Tensor;
  /** (V,d) where there are no recipes */
  embedding?: Tensor;
  /** (context,d) in `gpt2` */
  position?: Tensor;
  /** (context,D) elsewhere */
  rope?: Tensor;
  blocks: BlockWeights[];
  finalNorm: Affine;
}

/** Rows that {@link keepTopk} works on at a time. */
const TOPK_ROWS = 1024;

/**
 * Makes parameters ready for inference, once: the small basis becomes f32 and is transposed too, and the
 * recipes of `reflow-topk` become what top-k leaves of them. The weights take over the parameters' tensors.
 */
export async function prepareWeights(
  backend: Backend,
  config: ModelConfig,
  parameters: Parameters,
): Promise<Weights> {
  const affine = (name: string): Affine => ({
    weight: parameters[`${name}.weight`],
    bias: parameters[`${name}.bias`],
  });
  const weights: Weights = {
    position: parameters.position,
    blocks: Array.from({ length: config.n_layers }, (_, l) => ({
      attnNorm: affine(`blocks.${l}.attn_norm`),
      q: affine(`blocks.${l}.attn.q`),
      k: affine(`blocks.${l}.attn.k`),
      v: affine(`blocks.${l}.attn.v`),
      o: affine(`blocks.${l}.attn.o`),
      mlpNorm: affine(`blocks.${l}.mlp_norm`),
      gate: config.variant === "gpt2" ? undefined : affine(`blocks.${l}.mlp.gate`),
      up: affine(`blocks.${l}.mlp.up`),
      down: affine(`blocks.${l}.mlp.down`),
    })),
    finalNorm: affine("final_norm"),
  };
  if (isFactored(config)) {
    weights.recipe = parameters.recipe;
    if (config.variant === "reflow-topk") await keepTopk(backend, parameters.recipe, config.top_k!);
    weights.basis = decodeTable(backend, parameters.basis);
    weights.basisTransposed = await transposed(backend, weights.basis);
  } else {
    weights.embedding = parameters.embedding;
  }
  if (config.variant !== "gpt2") {
    weights.rope = backend.alloc([config.context, config.d_model / config.n_heads]);
    backend.write(weights.rope, ropeTable(config));
  }
  return weights;
}

/** A table (R,C) as f32; frees what it replaces. */
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

/** table (V,S) = topk(relu(table)) in place, a piece at a time. What stays of an f16 or i8 table keeps its bits. */
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

/** Bytes of a model's weights on a device, as {@link prepareWeights} leaves them. */
export function weightBytes(config: ModelConfig, weights: "f32" | "f16" | "int8"): number {
  const f32 = (shape: readonly number[]) => 4 * shape.reduce((a, b) => a * b, 1);
  let bytes = config.variant === "gpt2" ? 0 : f32([config.context, config.d_model / config.n_heads]);
  for (const { name, shape } of parameterSpecs(config)) {
    if (name === "basis") bytes += 2 * f32(shape);
    else if (shape.length === 1 || weights === "f32") bytes += f32(shape);
    else if (weights === "f16") bytes += f32(shape) / 2;
    else bytes += shape[0] * (shape[1] + 4 * groupsOf(shape[1]));
  }
  return bytes;
}
