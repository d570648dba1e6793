import assert from "node:assert/strict";

type Numbers = ArrayLike<number>;

/** Euclidean length. */
export function length(x: Numbers): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] ** 2;
  return Math.sqrt(sum);
}

/** Asserts ‖actual − expected‖ ≤ relative · ‖expected‖ + absolute. Anything that is not a number fails. */
export function assertClose(
  actual: Numbers,
  expected: Numbers,
  { relative, absolute = 0 }: { relative: number; absolute?: number },
  what: string,
): void {
  assert.equal(actual.length, expected.length, `${what}: number of values`);
  const error = length(Float64Array.from(expected, (x, i) => actual[i] - x));
  const allowed = relative * length(expected) + absolute;
  assert.ok(
    error <= allowed,
    `${what}: off by ${error.toExponential(2)}, allowed ${allowed.toExponential(2)}`,
  );
}
