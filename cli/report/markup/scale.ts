/** From numbers to places on paper. */
import { grouped, power, short } from "./numbers.ts";

export interface Scale {
  /** Where a number lies; not finite where it can't be shown, as zero on a logarithmic axis. */
  at(x: number): number;
  readonly ticks: readonly { value: number; label: string }[];
}

/** Steps between smaller numbers could not be told from zero. */
const TINIEST = 1e-200;

/** Least and largest of the numbers that can be shown, some way apart. */
export function extent(values: Iterable<number | undefined>, { log = false } = {}): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    if (x === undefined || !Number.isFinite(x) || (log && x < TINIEST)) continue;
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  if (low > high) return log ? [1, 10] : [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  // Closer together than numbers can tell apart, they are the same.
  if (high - low > Math.max(1e-9 * size, TINIEST)) return [low, high];
  const half = size > TINIEST ? size / 2 : 0.5;
  return log ? [low / 2, high * 2] : [low - half, high + half];
}

/** Of a step. */
const SLACK = 0.02;

/** 1, 2 or 5 times a power of ten: what about `count` steps from `low` to `high` are apart. */
function niceStep(low: number, high: number, count: number): number {
  const rough = (high - low) / count;
  const base = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((factor) => factor * base >= rough * 0.85) ?? 10;
  return factor * base;
}

/**
 * Even steps.
 *
 * @param options `round`: begins and ends at a tick
 */
export function linear(
  [low, high]: readonly [number, number],
  [from, to]: readonly [number, number],
  { ticks: count = 5, round = false } = {},
): Scale {
  const step = niceStep(low, high, count);
  // What is a hair over a tick needs no step of its own.
  const [first, last] = [Math.floor(low / step + SLACK), Math.ceil(high / step - SLACK)];
  const [start, end] = round ? [first * step, last * step] : [low, high];
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let i = first; i <= last; i++) {
    const value = i * step;
    if (value < start - step * 1e-6 || value > end + step * 1e-6) continue;
    ticks.push({ value, label: decimals > 5 ? short(value) : grouped(value, decimals) });
  }
  return { at: (x) => from + ((x - start) / (end - start)) * (to - from), ticks };
}

/**
 * Equal ratios.
 *
 * @param values that are shown: where there are few, they are the ticks
 */
export function logarithmic(
  values: readonly number[],
  [from, to]: readonly [number, number],
  { few = 0 } = {},
): Scale {
  const [low, high] = extent(values, { log: true });
  const [start, end] = [Math.log10(low), Math.log10(high)];
  const different = [...new Set(values.filter((x) => x >= TINIEST))].sort((a, b) => a - b);
  const shown = different.length <= few ? different : decades(low, high);
  return {
    at: (x) => (x >= TINIEST ? from + ((Math.log10(x) - start) / (end - start)) * (to - from) : Number.NaN),
    ticks: shown.map((value) => ({ value, label: logLabel(value) })),
  };
}

/** Powers of ten; where these are too few, twice and five times them too. */
function decades(low: number, high: number): number[] {
  const exponents: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) exponents.push(e);
  const inside = (factors: readonly number[]) =>
    exponents
      .flatMap((e) => factors.map((factor) => Number(`${factor}e${e}`)))
      .filter((x) => x >= low * (1 - 1e-9) && x <= high * (1 + 1e-9));
  const powers = inside([1]);
  if (powers.length >= 3) {
    const every = Math.ceil(powers.length / 6);
    return powers.filter((_, i) => i % every === 0);
  }
  const more = inside([1, 2, 5]);
  return more.length >= 2 ? more : [low, high];
}

function logLabel(x: number): string {
  const exponent = Math.round(Math.log10(x));
  const isPower = Math.abs(x / 10 ** exponent - 1) < 1e-9;
  if (isPower && (exponent < -3 || exponent > 4)) return power(exponent);
  const plain = String(Number(x.toPrecision(3)));
  return /e/.test(plain) || x >= 10_000 ? short(x) : plain;
}
