/** Measures of sparsity, rank correlation and clustering. */
import { mean } from "./statistics.ts";

/** Kurtosis E[(x − μ)⁴]/σ⁴: 3 for a Gaussian; larger if few values are far larger than the rest. */
export function kurtosis(values: ArrayLike<number>): number {
  const middle = mean(values);
  let [square, fourth] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const off = values[i] - middle;
    const power = off * off;
    square += power;
    fourth += power * power;
  }
  return (values.length * fourth) / square ** 2;
}

/**
 * Hoyer's sparsity (√n − ‖x‖₁/‖x‖₂)/(√n − 1) (Hoyer 2004): 1 if all but one value are zero, 0 if all have the same magnitude;
 * 1 − √(2/π) ≈ 0.202 for many Gaussian values. 0 for a list of zeros.
 */
export function hoyer(values: ArrayLike<number>): number {
  let [sum, square] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    sum += Math.abs(value);
    square += value * value;
  }
  if (square === 0) return 0;
  const root = Math.sqrt(values.length);
  return (root - sum / Math.sqrt(square)) / (root - 1);
}

/** The Gini coefficient of non-negative values: 0 if all are equal, (n − 1)/n if one has everything. */
export function gini(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  let [sum, ranked] = [0, 0];
  for (let i = 0; i < n; i++) {
    sum += sorted[i];
    ranked += (2 * (i + 1) - n - 1) * sorted[i];
  }
  return sum === 0 ? 0 : ranked / (n * sum);
}

/** Spearman's rank correlation: Pearson's of the ranks, with ties averaged. 0 if all values of a list are equal. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(ranks(a), ranks(b));
}

/** Ranks from 1; ties share the mean of their ranks. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a] - values[b]);
  const out = new Float64Array(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && values[order[to]] === values[order[from]]) to++;
    for (let i = from; i < to; i++) out[order[i]] = (from + to + 1) / 2;
    from = to;
  }
  return out;
}

function pearson(a: Float64Array, b: Float64Array): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  let [both, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    both += (a[i] - meanA) * (b[i] - meanB);
    squareA += (a[i] - meanA) ** 2;
    squareB += (b[i] - meanB) ** 2;
  }
  return squareA > 0 && squareB > 0 ? both / Math.sqrt(squareA * squareB) : 0;
}

/**
 * The silhouette of each point (Rousseeuw 1987): (b − a)/max(a, b), where a is the mean distance to the other points of its
 * label and b that to the nearest other label. 0 for the only point of a label.
 *
 * @param distances (n,n), row-major
 * @param labels (n), from 0 on
 */
export function silhouettes(distances: ArrayLike<number>, labels: ArrayLike<number>): Float64Array {
  const n = labels.length;
  const of = Int32Array.from(labels);
  const sizes = new Int32Array(of.reduce((most, label) => Math.max(most, label), 0) + 1);
  for (let i = 0; i < n; i++) sizes[of[i]]++;
  const sums = new Float64Array(sizes.length);
  const out = new Float64Array(n);
  for (let i = 0, at = 0; i < n; i++) {
    sums.fill(0);
    for (let j = 0; j < n; j++, at++) sums[of[j]] += distances[at];
    const label = of[i];
    if (sizes[label] === 1) continue;
    const own = (sums[label] - distances[i * n + i]) / (sizes[label] - 1);
    let nearest = Infinity;
    for (let other = 0; other < sizes.length; other++) {
      if (other !== label && sizes[other] > 0) nearest = Math.min(nearest, sums[other] / sizes[other]);
    }
    const larger = Math.max(own, nearest);
    if (larger > 0 && nearest < Infinity) out[i] = (nearest - own) / larger;
  }
  return out;
}
