/** A figure beside the most that it could be, both measured in the same minute. */
export interface Row {
  name: string;
  value: number;
  unit: string;
  /** What the machine reaches doing nothing else, in the same unit. */
  roof?: number;
  /** value / roof */
  fraction?: number;
  threads: number;
  /** Training: what the FLOP/s come to. */
  tokensPerSecond?: number;
}

export function row(name: string, threads: number, unit: string, value: number, roof?: number): Row {
  return { name, value, unit, ...(roof !== undefined && { roof, fraction: value / roof }), threads };
}

/**
 * The least seconds of each of some functions, run in turn until the time is up and at least five times. What else a
 * machine does only adds to a time, and by turns it adds to all alike: so the ratio of two minima is steady where the
 * times themselves drift.
 */
export async function race<K extends string>(
  runs: Record<K, () => void | Promise<void>>,
  { seconds = 3, rounds = 5 } = {},
): Promise<Record<K, number>> {
  const names = Object.keys(runs) as K[];
  const least = Object.fromEntries(names.map((name) => [name, Number.POSITIVE_INFINITY])) as Record<
    K,
    number
  >;
  for (const name of names) await runs[name]();
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < rounds || performance.now() < until; round++) {
    for (const name of names) {
      const start = performance.now();
      await runs[name]();
      least[name] = Math.min(least[name], (performance.now() - start) / 1000);
    }
  }
  return least;
}

/** Values in [-0.5, 0.5) that need not be random, only not all alike. */
export function pseudo(size: number): Float32Array<ArrayBuffer> {
  let state = 1;
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 32;
  }
  return values;
}
