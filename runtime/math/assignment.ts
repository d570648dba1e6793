import type { Matrix } from "./matrix.ts";

/**
 * The assignment of rows to distinct columns with the largest sum of values: the Hungarian method by shortest augmenting
 * paths (Jonker & Volgenant 1987). O(n²·m).
 *
 * @param values (n,m), n ≤ m
 * @returns (n): the column of each row
 */
export function assign({ rows: n, columns: m, data }: Matrix): Int32Array {
  // Costs are −values; u and v are the dual prices of rows and columns. Column m is the start of each path.
  const u = new Float64Array(n);
  const v = new Float64Array(m + 1);
  const rowOf = new Int32Array(m + 1).fill(-1);
  const slack = new Float64Array(m);
  const from = new Int32Array(m);
  for (let row = 0; row < n; row++) {
    slack.fill(Infinity);
    const reached = new Uint8Array(m + 1);
    rowOf[m] = row;
    let column = m;
    while (rowOf[column] >= 0) {
      reached[column] = 1;
      const i = rowOf[column];
      let [step, next] = [Infinity, -1];
      for (let j = 0; j < m; j++) {
        if (reached[j]) continue;
        const cost = -data[i * m + j] - u[i] - v[j];
        if (cost < slack[j]) {
          slack[j] = cost;
          from[j] = column;
        }
        if (slack[j] < step) {
          step = slack[j];
          next = j;
        }
      }
      for (let j = 0; j <= m; j++) {
        if (reached[j]) {
          u[rowOf[j]] += step;
          v[j] -= step;
        } else if (j < m) slack[j] -= step;
      }
      column = next;
    }
    // Back along the path, each column takes over the row of the column before it.
    while (column !== m) {
      rowOf[column] = rowOf[from[column]];
      column = from[column];
    }
  }
  const out = new Int32Array(n);
  for (let j = 0; j < m; j++) if (rowOf[j] >= 0) out[rowOf[j]] = j;
  return out;
}
