import { useEffect, useState } from "preact/hooks";
import type { Failure } from "../engine/engine.ts";

export interface Resource<T> {
  /** The latest value. It remains available while the next one is being computed. */
  value?: T;
  error?: Failure;
  pending: boolean;
}

/**
 * The result of an asynchronous computation. When the key changes, the running computation is cancelled, and after a pause a
 * new one starts.
 *
 * @param key identifies the inputs of the computation; undefined if there is nothing to compute
 * @param options.pause delay before the computation starts, in milliseconds; default: 0
 */
export function useResource<T>(
  key: string | undefined,
  compute: (signal: AbortSignal) => Promise<T>,
  { pause = 0 } = {},
): Resource<T> {
  const [resource, set] = useState<Resource<T>>({ pending: key !== undefined });
  useEffect(() => {
    if (key === undefined) return set({ pending: false });
    const controller = new AbortController();
    set(({ value }) => ({ value, pending: true }));
    const timer = setTimeout(async () => {
      try {
        const value = await compute(controller.signal);
        if (!controller.signal.aborted) set({ value, pending: false });
      } catch (error) {
        if (!controller.signal.aborted) set({ error: error as Failure, pending: false });
      }
    }, pause);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  return resource;
}
