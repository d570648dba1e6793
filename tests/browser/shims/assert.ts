// The subset of node:assert/strict that the suites use, for pages.

const show = (value: unknown): string => {
  const text = ArrayBuffer.isView(value) ? `${value.constructor.name} [${value}]` : JSON.stringify(value);
  return text?.length > 200 ? `${text.slice(0, 200)}…` : `${text}`;
};

function fail(message: string | undefined, difference: string): never {
  throw new Error(message ? `${message} (${difference})` : difference);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  // A fast path: most comparisons are of typed arrays.
  if (ArrayBuffer.isView(a)) return isEqualArray(a as Uint8Array, b as Uint8Array);
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => isEqual(a[key as keyof typeof a], b[key as keyof typeof b]))
  );
}

function isEqualArray(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return a.length === b.length;
}

export default {
  ok(value: unknown, message?: string): void {
    if (!value) fail(message, `${show(value)} is not truthy`);
  },
  equal(actual: unknown, expected: unknown, message?: string): void {
    if (!Object.is(actual, expected)) fail(message, `${show(actual)} is not ${show(expected)}`);
  },
  deepEqual(actual: unknown, expected: unknown, message?: string): void {
    if (!isEqual(actual, expected)) fail(message, `${show(actual)} is not ${show(expected)}`);
  },
  throws(action: () => unknown, type: new () => Error): void {
    try {
      action();
    } catch (error) {
      if (error instanceof type) return;
      throw error;
    }
    throw new Error(`nothing was thrown, expected a ${type.name}`);
  },
};
