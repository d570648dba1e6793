/** Codebooks: the tokens with the most and the least of each signal. */

import { topK } from "../math/logits.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";

/** A token and its weight on a signal. */
export interface CodebookEntry {
  id: number;
  text: string;
  /** R[id, signal] */
  weight: number;
}

/** The tokens at both ends of a signal, the most extreme first. */
export interface Codebook {
  most: CodebookEntry[];
  least: CodebookEntry[];
}

/**
 * The codebooks of some signals: columns of R, or of E if it is not factored. Padding rows are excluded.
 *
 * @param size number of tokens at each end
 */
export async function codebooksOf(
  model: InferenceModel,
  signals: readonly number[],
  size: number,
): Promise<Codebook[]> {
  const { backend, weights, overlay } = model;
  const table = (weights.recipe ?? weights.embedding)!;
  const [V, S] = table.shape;
  const n = signals.length;
  if (n === 0) return [];
  // Columns are computed on the device as products with unit vectors, because all of R may be 200 MB.
  const axes = new Float32Array(n * S);
  for (const [i, s] of signals.entries()) axes[i * S + s] = 1;
  const [a, out] = [backend.alloc([n, S]), backend.alloc([n, V])];
  let columns: Float32Array;
  try {
    backend.write(a, axes);
    backend.matmul(out, a, table, { transB: true });
    columns = (await backend.read(out)) as Float32Array;
  } finally {
    backend.free(a);
    backend.free(out);
  }
  const rows = tokenCount(model);
  return signals.map((s, i) => {
    const column = columns.subarray(i * V, i * V + rows);
    for (const [id, row] of overlay ?? []) column[id] = row[s];
    const entries = (ids: Int32Array) =>
      Array.from(ids, (id) => ({ id, text: model.tokenizer?.tokenText(id) ?? "", weight: column[id] }));
    return {
      most: entries(topK(column, size)),
      least: entries(
        topK(
          column.map((x) => -x),
          size,
        ),
      ),
    };
  });
}
