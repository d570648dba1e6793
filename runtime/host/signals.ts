export type Signal = "SIGINT" | "SIGTERM";

/** Exit statuses after a signal: 128 + the signal's number, as in shells. */
export const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Signals within this time after the first are ignored as duplicates: Ctrl-C reaches the whole process group, and `bun run`
 * forwards it as well.
 */
const DUPLICATE_MS = 250;

export interface SignalWatch {
  /** The first signal received. */
  caught?: Signal;
  /** Removes the handlers. */
  stop(): void;
}

/** Prevents SIGINT and SIGTERM from ending the process. The first one is stored, and `onSignal` is called for each. */
export function watchSignals(onSignal: (name: Signal, isFirst: boolean) => void): SignalWatch {
  let first = -Infinity;
  const handlers = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const handler = () => {
      const isFirst = !watch.caught;
      if (isFirst) first = performance.now();
      else if (performance.now() - first < DUPLICATE_MS) return;
      watch.caught ??= name;
      onSignal(name, isFirst);
    };
    process.on(name, handler);
    return [name, handler] as const;
  });
  const watch: SignalWatch = {
    stop: () => {
      for (const [name, handler] of handlers) process.off(name, handler);
    },
  };
  return watch;
}
