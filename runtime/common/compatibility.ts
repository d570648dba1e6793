/** Differences between the hosts: functions of the standard library that Node.js 20 lacks, and modules of Node.js. */

export interface Deferred<T> {
  promise: Promise<T>;
  resolve(value: T | PromiseLike<T>): void;
  reject(reason?: unknown): void;
}

/** `Promise.withResolvers`, which Node.js has from version 22 on. */
export function withResolvers<T>(): Deferred<T> {
  const deferred = {} as Deferred<T>;
  deferred.promise = new Promise<T>((resolve, reject) => {
    deferred.resolve = resolve;
    deferred.reject = reject;
  });
  return deferred;
}

/** `Map.groupBy`, which Node.js has from version 21 on. */
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

/** `Uint8Array.prototype.toHex`, which Node.js has from version 25 on. */
export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * A module of Node.js, found without an import, which bundlers for browsers would follow; undefined in a browser, and in a
 * version of Node.js that lacks it.
 */
function builtinModule<T>(name: string): T | undefined {
  return globalThis.process?.getBuiltinModule?.(name) as T | undefined;
}

/** Undefined in browsers. Required only where there is no global `Worker`. */
export const workerThreads = () => builtinModule<typeof import("node:worker_threads")>("node:worker_threads");

/** The cores that this process may use; undefined in browsers, where `navigator` has their number. */
export const availableCores = (): number | undefined =>
  builtinModule<typeof import("node:os")>("node:os")?.availableParallelism();

/** Undefined before Node.js 22.13. */
export const sqlite = () => builtinModule<typeof import("node:sqlite")>("node:sqlite");
