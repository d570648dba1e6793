/** A measured value and the peak it is compared with, both measured within the same minute. */
export interface Measurement {
  name: string;
  value: number;
  unit: string;
  /** Peak: the rate that the machine reaches on the limiting operation alone, in the same unit. */
  roof?: number;
  /** value / roof */
  fraction?: number;
  /** CPU threads; absent on a GPU. */
  threads?: number;
  /** The same measurement in another unit. */
  also?: { value: number; unit: string };
  /** Training only: sequences per step, and tokens per sequence. */
  batch?: number;
  length?: number;
}

/** A benchmark that could not be measured, and the reason. */
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

/** Formats a result as a line of text. */
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

/** Minimum duration and minimum number of rounds of a measurement. */
export interface SamplingBudget {
  seconds: number;
  rounds: number;
}

/** How work on a device is timed. */
export interface Clock {
  /** Resolves when all submitted work has finished. */
  synchronize(): Promise<void>;
  /** Minimum duration of a sample in seconds, large compared with the cost of `synchronize`. */
  readonly minSeconds: number;
}

/** Runs a workload for a while and returns its rate: amount of work per second. */
export type RateSampler = () => number | Promise<number>;

/** Returns a sampler of the rate of `run`, which does `work` per call; calls are repeated until a sample lasts `minSeconds`. */
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
 * Takes samples of each rate alternately, after a warm-up round, for at least `seconds` and `rounds`, and returns the maxima.
 * Other load on the machine only lowers rates, and alternating exposes all samplers to the same load, so the ratio of two maxima
 * is stable even when the rates themselves drift.
 */
export async function bestRates<K extends string>(
  samplers: Record<K, RateSampler>,
  { seconds, rounds }: SamplingBudget,
): Promise<Record<K, number>> {
  const names = Object.keys(samplers) as K[];
  const best = Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
  for (const name of names) await samplers[name]();
  const until = performance.now() + seconds * 1000;
  for (let round = 0; round < rounds || performance.now() < until; round++) {
    for (const name of names) best[name] = Math.max(best[name], await samplers[name]());
  }
  return best;
}

/** Deterministic pseudo-random values in [-0.5, 0.5). */
export function pseudoRandom(size: number): Float32Array<ArrayBuffer> {
  let state = 1;
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = state / 2 ** 32;
  }
  return values;
}
