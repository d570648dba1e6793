import { useEffect, useState } from "preact/hooks";
import type { Failure } from "./engine.ts";

export interface Resource<T> {
  /** The last there was: it stays while the next is under way. */
  value?: T;
  error?: Failure;
  pending: boolean;
}

/**
 * What a computation gives, which begins again when its key is another: after a pause, and the one before is cancelled.
 *
 * @param key undefined while there is nothing to compute
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
