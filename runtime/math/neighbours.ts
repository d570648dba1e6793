export interface Neighbour {
  id: number;
  /** Cosine of the two rows. */
  cosine: number;
}

/**
 * The rows of a table nearest to one of its rows by cosine, nearest first, excluding that row. Over `recipe` these are a
 * token's neighbours in recipe space.
 *
 * @param table (rows, columns), row-major
 * @param rows the number of rows to consider: the tokenizer's size, if the table is padded beyond it
 */
export function neighbours(
  table: Float32Array,
  columns: number,
  { id, rows, count }: { id: number; rows: number; count: number },
): Neighbour[] {
  const row = (i: number) => table.subarray(i * columns, (i + 1) * columns);
  const query = row(id);
  const length = Math.sqrt(dot(query, query));
  const all: Neighbour[] = [];
  for (let i = 0; i < rows; i++) {
    if (i === id) continue;
    const other = row(i);
    const norms = length * Math.sqrt(dot(other, other));
    all.push({ id: i, cosine: norms > 0 ? dot(query, other) / norms : 0 });
  }
  return all.sort((a, b) => b.cosine - a.cosine || a.id - b.id).slice(0, count);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
