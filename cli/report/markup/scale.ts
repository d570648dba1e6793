/** Axis scales: map data values to drawing coordinates. */
import { grouped, power, short } from "./numbers.ts";

export interface Scale {
  /** Coordinate of a value; not finite if it cannot be shown, such as zero on a logarithmic axis. */
  at(x: number): number;
  readonly ticks: readonly { value: number; label: string }[];
}

/** Smaller values are treated as zero: steps between them would underflow. */
const TINIEST = 1e-200;

/** Minimum and maximum of the values that can be shown, widened if they coincide. */
export function extent(values: Iterable<number | undefined>, { log = false } = {}): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    if (x === undefined || !Number.isFinite(x) || (log && x < TINIEST)) continue;
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  if (low > high) return log ? [1, 10] : [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  // Values within rounding error of each other are treated as equal.
  if (high - low > Math.max(1e-9 * size, TINIEST)) return [low, high];
  const half = size > TINIEST ? size / 2 : 0.5;
  return log ? [low / 2, high * 2] : [low - half, high + half];
}

/** Fraction of a step by which values may exceed a tick without adding another. */
const SLACK = 0.02;

/** A step of 1, 2 or 5 times a power of ten that divides the range into about `count` steps. */
function niceStep(low: number, high: number, count: number): number {
  const rough = (high - low) / count;
  const base = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((factor) => factor * base >= rough * 0.85) ?? 10;
  return factor * base;
}

/**
 * A linear scale.
 *
 * @param options `round`: extend the range to ticks at both ends
 */
export function linear(
  [low, high]: readonly [number, number],
  [from, to]: readonly [number, number],
  { ticks: count = 5, round = false } = {},
): Scale {
  const step = niceStep(low, high, count);
  // A value barely beyond a tick does not need another tick.
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
 * A logarithmic scale.
 *
 * @param values values to show; if at most `few` are distinct, they become the ticks
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

/** Ticks at powers of ten; if there are fewer than three, also at 2 and 5 times powers of ten. */
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
