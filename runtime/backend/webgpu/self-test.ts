import type { Backend } from "../contract/backend.ts";
import type { Tier } from "./device/tier.ts";

/**
 * Compares a matrix product and a row reduction with float64 results from the CPU: some drivers accept a kernel and
 * compute something else.
 *
 * @returns the failure, or undefined
 */
export async function selfTest(
  backend: Backend,
  { matmul }: Tier,
  tolerance: number,
): Promise<string | undefined> {
  // f16 products have separate kernels: these sizes have whole and partial tiles.
  const [M, K, N] = matmul === "f32" ? [37, 70, 41] : [132, 72, 132];
  // Multiples of 1/8 up to 1, which f16 represents exactly.
  const values = (size: number, step: number) =>
    Float32Array.from({ length: size }, (_, i) => ((i * step) % 17) / 8 - 1);
  const a = values(M * K, 7);
  const b = values(N * K, 5);
  const product = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      for (let k = 0; k < K; k++) product[m * N + n] += a[m * K + k] * b[n * K + k];
    }
  }
  const rstd = Float64Array.from({ length: M }, (_, m) => {
    const squares = product.subarray(m * N, (m + 1) * N).map((x) => x * x);
    return 1 / Math.sqrt(squares.reduce((sum, x) => sum + x, 0) / N + 1e-5);
  });

  const tensors = [[M, K], [N, K], [M, N], [N], [M, N], [M]].map((shape) => backend.alloc(shape));
  const [left, right, out, weight, normed, rstdOut] = tensors;
  backend.write(left, a);
  backend.write(right, b);
  backend.fill(weight, 1);
  backend.matmul(out, left, right, { transB: true });
  backend.rmsnorm(normed, rstdOut, out, weight);
  try {
    if (!close(await backend.read(out), product, tolerance))
      return "its matrix products differ from the CPU's";
    if (!close(await backend.read(rstdOut), rstd, tolerance)) return "its row sums differ from the CPU's";
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    for (const tensor of tensors) backend.free(tensor);
  }
}

function close(actual: ArrayLike<number>, expected: Float64Array, tolerance: number): boolean {
  const length = (x: Float64Array) => Math.hypot(...x);
  const error = expected.map((x, i) => actual[i] - x);
  return length(error) <= tolerance * length(expected);
}
