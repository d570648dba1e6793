/** Spectra of symmetric matrices, in float64. */

import type { Matrix } from "./matrix.ts";
import { rowOf } from "./matrix.ts";

export interface Eigen {
  /** Largest first. */
  values: Float64Array;
  /** (n,n): row i is the unit eigenvector of the i-th value; present if requested. */
  vectors?: Float64Array;
}

/**
 * Eigenvalues, and optionally eigenvectors, of a symmetric matrix: reduction to tridiagonal form by reflections, then to
 * diagonal form by implicit QR steps with Wilkinson's shift (Golub & Van Loan, Matrix Computations, §8.3). About 2·n³
 * operations, 6·n³ with vectors.
 *
 * @param symmetric (n,n)
 */
export function eigen(symmetric: ArrayLike<number>, n: number, { vectors = false } = {}): Eigen {
  const a = Float64Array.from(symmetric);
  const basis = vectors ? identity(n) : undefined;
  const [diagonal, beside] = tridiagonal(a, n, basis);
  diagonalize(diagonal, beside, basis);
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[j] - diagonal[i]);
  return {
    values: Float64Array.from(order, (i) => diagonal[i]),
    vectors:
      basis &&
      Float64Array.from({ length: n * n }, (_, at) => basis[order[Math.floor(at / n)] * n + (at % n)]),
  };
}

function identity(n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) out[i * n + i] = 1;
  return out;
}

/** Reduces `a` to tridiagonal form in place; the rows of `basis` become the directions of the new coordinates. */
function tridiagonal(a: Float64Array, n: number, basis?: Float64Array): [Float64Array, Float64Array] {
  const v = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k + 2 < n; k++) {
    // H = I − 2vvᵀ maps column k of a, below the diagonal, to a multiple of the first unit vector.
    let square = 0;
    for (let i = k + 1; i < n; i++) square += a[i * n + k] ** 2;
    if (square === 0) continue;
    const first = a[(k + 1) * n + k];
    const target = first > 0 ? -Math.sqrt(square) : Math.sqrt(square);
    const length = Math.sqrt(2 * (square - first * target));
    for (let i = k + 1; i < n; i++) v[i] = (a[i * n + k] - (i === k + 1 ? target : 0)) / length;
    // HaH = a − vwᵀ − wvᵀ with w = 2(av − (vᵀav)v); only the entries of a on and below the diagonal are stored.
    w.fill(0, k + 1);
    for (let i = k + 1; i < n; i++) {
      const row = a.subarray(i * n, i * n + i);
      const vi = v[i];
      let sum = a[i * n + i] * vi;
      for (let j = k + 1; j < i; j++) {
        sum += row[j] * v[j];
        w[j] += row[j] * vi;
      }
      w[i] += sum;
    }
    let along = 0;
    for (let i = k + 1; i < n; i++) along += v[i] * w[i];
    for (let i = k + 1; i < n; i++) w[i] = 2 * (w[i] - along * v[i]);
    for (let i = k + 1; i < n; i++) {
      const row = a.subarray(i * n, i * n + i + 1);
      const [vi, wi] = [v[i], w[i]];
      for (let j = k + 1; j <= i; j++) row[j] -= vi * w[j] + wi * v[j];
    }
    a[(k + 1) * n + k] = target;
    if (!basis) continue;
    w.fill(0);
    for (let i = k + 1; i < n; i++) for (let j = 0; j < n; j++) w[j] += v[i] * basis[i * n + j];
    for (let i = k + 1; i < n; i++) for (let j = 0; j < n; j++) basis[i * n + j] -= 2 * v[i] * w[j];
  }
  return [
    Float64Array.from({ length: n }, (_, i) => a[i * n + i]),
    Float64Array.from({ length: Math.max(0, n - 1) }, (_, i) => a[(i + 1) * n + i]),
  ];
}

/** Diagonalises a tridiagonal matrix in place. */
function diagonalize(d: Float64Array, e: Float64Array, basis?: Float64Array): void {
  const n = d.length;
  const negligible = (i: number) => Math.abs(e[i]) <= Number.EPSILON * (Math.abs(d[i]) + Math.abs(d[i + 1]));
  for (let high = n - 1; high > 0; ) {
    if (negligible(high - 1)) {
      high--;
      continue;
    }
    let low = high - 1;
    while (low > 0 && !negligible(low - 1)) low--;
    // The shift is the eigenvalue of the last 2×2 block that is nearer to its corner.
    const half = (d[high - 1] - d[high]) / 2;
    const root = Math.hypot(half, e[high - 1]);
    let x = d[low] - d[high] + e[high - 1] ** 2 / (half + (half < 0 ? -root : root));
    let z = e[low];
    for (let k = low; k < high; k++) {
      // Rotates rows and columns k and k+1 so that z, which is outside the band, becomes zero.
      const length = Math.hypot(x, z);
      const [c, s] = length === 0 ? [1, 0] : [x / length, z / length];
      if (k > low) e[k - 1] = length;
      const [p, q, r] = [d[k], e[k], d[k + 1]];
      d[k] = c * c * p + 2 * c * s * q + s * s * r;
      d[k + 1] = s * s * p - 2 * c * s * q + c * c * r;
      e[k] = c * s * (r - p) + (c * c - s * s) * q;
      x = e[k];
      if (k + 1 < high) {
        z = s * e[k + 1];
        e[k + 1] *= c;
      }
      if (basis) turn(basis.subarray(k * n, (k + 1) * n), basis.subarray((k + 1) * n, (k + 2) * n), c, s);
    }
  }
}

function turn(a: Float64Array, b: Float64Array, c: number, s: number): void {
  for (let j = 0; j < a.length; j++) {
    const [x, y] = [a[j], b[j]];
    a[j] = c * x + s * y;
    b[j] = c * y - s * x;
  }
}

/** rows·rowsᵀ (n,n), or rowsᵀ·rows (C,C): the smaller of the two. For small matrices: see `multiply` for others. */
export function gram(rows: Matrix): { values: Float64Array; n: number } {
  const wide = rows.columns >= rows.rows;
  const n = Math.min(rows.rows, rows.columns);
  const values = new Float64Array(n * n);
  if (wide) {
    for (let i = 0; i < n; i++) {
      const a = rowOf(rows, i);
      for (let j = 0; j <= i; j++) {
        const b = rowOf(rows, j);
        let sum = 0;
        for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
        values[i * n + j] = values[j * n + i] = sum;
      }
    }
    return { values, n };
  }
  for (let row = 0; row < rows.rows; row++) {
    const a = rowOf(rows, row);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) values[i * n + j] += a[i] * a[j];
  }
  return { values, n };
}

/** Singular values, largest first, from the eigenvalues of a Gram matrix. */
export const singularValues = (gram: ArrayLike<number>, n: number): Float64Array =>
  eigen(gram, n).values.map((x) => Math.sqrt(Math.max(0, x)));

/** Effective rank (Roy & Vetterli 2007): exp of the entropy of the normalised singular values; n if all are equal, 1 for a single one. */
export function effectiveRank(singular: ArrayLike<number>): number {
  let [sum, entropy] = [0, 0];
  for (let i = 0; i < singular.length; i++) sum += singular[i];
  for (let i = 0; i < singular.length; i++) {
    const share = singular[i] / sum;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return Math.exp(entropy);
}

/**
 * Coordinates of points along their first principal components (n, count), and the fraction of variance of each. The sign of
 * a component makes its largest coordinate positive.
 */
export function principal(
  points: Matrix,
  count: number,
): { coordinates: Float64Array; shares: Float64Array } {
  const { rows: n, columns } = points;
  const centred = new Float64Array(points.data);
  for (let j = 0; j < columns; j++) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += centred[i * columns + j];
    for (let i = 0; i < n; i++) centred[i * columns + j] -= sum / n;
  }
  // For an eigenvector v of the Gram matrix (n,n), √λ·v holds the points' coordinates along a component.
  const products = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < columns; k++) sum += centred[i * columns + k] * centred[j * columns + k];
      products[i * n + j] = products[j * n + i] = sum;
    }
  }
  const { values, vectors } = eigen(products, n, { vectors: true });
  const total = values.reduce((sum, x) => sum + Math.max(0, x), 0);
  const coordinates = new Float64Array(n * count);
  for (let c = 0; c < Math.min(count, n); c++) {
    const v = vectors!.subarray(c * n, (c + 1) * n);
    const peak = v.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
    const scale = Math.sign(peak) * Math.sqrt(Math.max(0, values[c]));
    for (let i = 0; i < n; i++) coordinates[i * count + c] = scale * v[i];
  }
  const shares = values.subarray(0, count).map((x) => (total > 0 ? Math.max(0, x) / total : 0));
  return { coordinates, shares };
}
