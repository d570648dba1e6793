/** A model's embedding tables on the host: reading, replacing and multiplying them. */
import type { Backend, MatmulOptions, Tensor } from "../backend/contract/backend.ts";
import { HostTensor, type TensorData } from "../math/host-tensor.ts";
import type { InferenceModel } from "./inference.ts";

/** A model's embedding, factored or not. */
export interface TokenTables {
  /**
   * R (V,S) as the model uses it (after top-k in `reflow-topk`, and with any patch applied), or E (V,d) if it is not factored.
   */
  recipe: HostTensor;
  /** B (S,d); absent if E is not factored. */
  basis?: HostTensor;
}

/** Rows transferred at a time. */
const ROWS = 4096;

export async function readTables({ backend, weights, overlay }: InferenceModel): Promise<TokenTables> {
  const { recipe, embedding, basis } = weights;
  const read = async (table: Tensor) =>
    new HostTensor(table.shape, await readRows(backend, table, 0, table.shape[0]));
  const table = await read((recipe ?? embedding)!);
  for (const [id, row] of overlay ?? []) table.data.set(row, id * row.length);
  return { recipe: table, basis: basis && (await read(basis)) };
}

/** Rows `from` to `to` of a table (V,C) of any type, as f32. */
async function readRows(backend: Backend, table: Tensor, from: number, to: number): Promise<Float32Array> {
  const [, columns] = table.shape;
  const data = new Float32Array((to - from) * columns);
  const ids = backend.alloc([ROWS], "i32");
  const rows = backend.alloc([ROWS, columns]);
  try {
    for (let row = from; row < to; row += ROWS) {
      const count = Math.min(ROWS, to - row);
      const some = backend.view(ids, [count]);
      backend.write(
        some,
        Int32Array.from({ length: count }, (_, i) => row + i),
      );
      const out = backend.view(rows, [count, columns]);
      backend.gather(out, table, some);
      data.set((await backend.read(out)) as Float32Array, (row - from) * columns);
    }
  } finally {
    backend.free(ids);
    backend.free(rows);
  }
  return data;
}

/** Rows of R for some tokens, with any patch applied; rows of E if it is not factored. */
export async function gatherRows(
  { backend, weights, overlay }: InferenceModel,
  ids: readonly number[],
): Promise<Float32Array[]> {
  const table = (weights.recipe ?? weights.embedding)!;
  const columns = table.shape[1];
  const out = backend.alloc([ids.length, columns]);
  const which = backend.alloc([ids.length], "i32");
  try {
    backend.write(which, Int32Array.from(ids));
    backend.gather(out, table, which);
    const data = (await backend.read(out)) as Float32Array;
    return ids.map((id, i) => overlay?.get(id) ?? data.subarray(i * columns, (i + 1) * columns));
  } finally {
    backend.free(out);
    backend.free(which);
  }
}

/**
 * Runs a function while other rows replace the table's first ones, in both of its uses. The model's own table stays
 * on the device and is restored afterwards, to the bit.
 *
 * @param rows f32 (≤V, S), or (≤V, d)
 */
export async function withTable<T>(
  { backend, weights }: InferenceModel,
  rows: Float32Array,
  run: () => Promise<T>,
): Promise<T> {
  const name = weights.recipe ? "recipe" : "embedding";
  const original = weights[name]!;
  const [V, columns] = original.shape;
  const replacement = backend.alloc([V, columns]);
  try {
    backend.write(replacement, rows);
    const rest = rows.length / columns;
    if (rest < V) backend.write(replacement, await readRows(backend, original, rest, V), rows.length);
    weights[name] = replacement;
    return await run();
  } finally {
    weights[name] = original;
    backend.free(replacement);
  }
}

/** a·b on a device, in blocks of rows of `a`. */
export async function multiply(
  backend: Backend,
  a: TensorData,
  b: TensorData,
  { transA = false, transB = false }: Pick<MatmulOptions, "transA" | "transB"> = {},
): Promise<HostTensor> {
  const [rows, inner] = transA ? [a.shape[1], a.shape[0]] : a.shape;
  const columns = b.shape[transB ? 0 : 1];
  const data = new Float32Array(rows * columns);
  // A transposed left factor is needed whole; such products, of (V,S) with itself, are small.
  const most = transA ? rows : Math.min(ROWS, rows);
  const tensors: Tensor[] = [];
  const alloc = (...shape: number[]) => {
    const tensor = backend.alloc(shape);
    tensors.push(tensor);
    return tensor;
  };
  try {
    const right = alloc(...b.shape);
    const [left, out] = [transA ? alloc(inner, rows) : alloc(most, inner), alloc(most, columns)];
    backend.write(right, b.data);
    for (let row = 0; row < rows; row += most) {
      const count = Math.min(most, rows - row);
      const some = transA ? left : backend.view(left, [count, inner]);
      backend.write(some, a.data.subarray(row * inner, (row + count) * inner));
      const product = backend.view(out, [count, columns]);
      backend.matmul(product, some, right, { transA, transB });
      data.set((await backend.read(product)) as Float32Array, row * columns);
    }
  } finally {
    for (const tensor of tensors) backend.free(tensor);
  }
  return new HostTensor([rows, columns], data);
}
