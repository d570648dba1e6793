export type Signal = "SIGINT" | "SIGTERM";

/** 128 + the signal's number, as shells have it. */
export const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** A terminal's Ctrl-C reaches a whole group, and `bun run` hands it on besides: what comes so soon after the first is the same one. */
const SAME_MS = 250;

export interface SignalWatch {
  /** The first one that came. */
  caught?: Signal;
  stop(): void;
}

/** Keeps SIGINT and SIGTERM from ending the process: the first one is remembered, and every one told of, each once. */
export function watchSignals(onSignal: (name: Signal, isFirst: boolean) => void): SignalWatch {
  let first = -Infinity;
  const handlers = (["SIGINT", "SIGTERM"] as const).map((name) => {
    const handler = () => {
      const isFirst = !watch.caught;
      if (isFirst) first = performance.now();
      else if (performance.now() - first < SAME_MS) return;
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
