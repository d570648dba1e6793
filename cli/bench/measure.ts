/** A figure beside the most that it could be, both measured in the same minute. */
export interface Measurement {
  name: string;
  value: number;
  unit: string;
  /** What the machine reaches doing nothing else, in the same unit. */
  roof?: number;
  /** value / roof */
  fraction?: number;
  /** Of a CPU. */
  threads?: number;
  /** The same in another unit. */
  also?: { value: number; unit: string };
  /** Training: sequences of a step, and tokens of each. */
  batch?: number;
  length?: number;
}

/** What could not be measured here, and why. */
export interface Skipped {
  name: string;
  note: string;
}

export type BenchResult = Measurement | Skipped;

export function measurement(
  name: string,
  threads: number | undefined,
  unit: string,
  value: number,
  roof?: number,
) {
  const fraction = roof === undefined ? undefined : value / roof;
  return { name, value, unit, roof, fraction, threads } satisfies Measurement;
}

/** A line for people. */
export function formatResult(row: BenchResult): string {
  const name = row.name.padEnd(28);
  if ("note" in row) return `${name} ${row.note}`;
  const figure = (n: number) => n.toLocaleString("en", { maximumSignificantDigits: 4 });
  const { value, unit, roof, fraction, threads, also, batch, length } = row;
  return [
    `${name} ${figure(value).padStart(8)} ${unit.padEnd(8)}`,
    threads && `${threads} thread${threads > 1 ? "s" : " "}`,
    roof && ` ${(100 * fraction!).toFixed(0).padStart(3)}% of ${figure(roof)}`,
    also && ` ${figure(also.value)} ${also.unit}`,
    batch && ` ${batch} × ${length} tokens`,
  ]
    .filter(Boolean)
    .join(" ")
    .trimEnd();
}

/** How long runs are repeated for. */
export interface SamplingBudget {
  seconds: number;
  rounds: number;
}

/** How a device's work is timed. */
export interface Clock {
  /** Until all that was called has run. */
  synchronize(): Promise<void>;
  /** Seconds next to which a wait is short: a timing takes as many at least. */
  readonly minSeconds: number;
}

/** Does something for a while, and gives how much of it was done a second. */
export type RateSampler = () => number | Promise<number>;

/** Turns of a run that does `work` of something, as many times as the clock needs. */
export function rateSampler(clock: Clock, work: number, run: () => void | Promise<void>): RateSampler {
  let times = 1;
  return async () => {
    const start = performance.now();
    for (let i = 0; i < times; i++) await run();
    await clock.synchronize();
    const seconds = (performance.now() - start) / 1000;
    const rate = (work * times) / seconds;
    if (seconds < clock.minSeconds) times = Math.ceil((times * clock.minSeconds) / seconds);
    return rate;
  };
}

/**
 * The greatest rate of each, by turns until the time is up and for some rounds at least, after a first one that counts
 * for nothing. What else a machine does only lowers a rate, and by turns it lowers all alike: so the ratio of two
 * maxima is steady where the rates themselves drift.
 */
export async function bestRates<K extends string>(
  turns: Record<K, RateSampler>,
  { seconds, rounds }: SamplingBudget,
): Promise<Record<K, number>> {
  const names = Object.keys(turns) as K[];
  const best = Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
  for (const name of names) await turns[name]();
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < rounds || performance.now() < until; round++) {
    for (const name of names) best[name] = Math.max(best[name], await turns[name]());
  }
  return best;
}

/** Values in [-0.5, 0.5) that need not be random, only not all alike. */
export function pseudoRandom(size: number): Float32Array<ArrayBuffer> {
  let state = 1;
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 32;
  }
  return values;
}
