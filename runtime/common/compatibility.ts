/** Differences between JavaScript runtimes: standard functions that Node.js 20 lacks, and modules that only Node.js has. */

export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T | PromiseLike<T>): void;
  reject(reason?: unknown): void;
}

/** `Promise.withResolvers`, available in Node.js from version 22. */
export function withResolvers<T>(): Deferred<T> {
  const deferred = {} as Deferred<T>;
  deferred.promise = new Promise<T>((resolve, reject) => {
    deferred.resolve = resolve;
    deferred.reject = reject;
  });
  return deferred;
}

/** `Map.groupBy`, available in Node.js from version 21. */
export function groupBy<K, T>(items: Iterable<T>, keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

/** `Uint8Array.prototype.toHex`, available in Node.js from version 25. */
export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * A module of Node.js, loaded without an import that bundlers for browsers would follow. Undefined in browsers, and in
 * versions of Node.js that lack the module.
 */
function builtinModule<T>(name: string): T | undefined {
  return globalThis.process?.getBuiltinModule?.(name) as T | undefined;
}

/** `node:worker_threads`, for runtimes without a global `Worker`. Undefined in browsers. */
export const workerThreads = () => builtinModule<typeof import("node:worker_threads")>("node:worker_threads");

/** Number of cores that this process may use. Undefined in browsers, where `navigator` has it. */
export const availableCores = (): number | undefined =>
  builtinModule<typeof import("node:os")>("node:os")?.availableParallelism();

/** `node:sqlite`. Undefined before Node.js 22.13. */
export const sqlite = () => builtinModule<typeof import("node:sqlite")>("node:sqlite");
