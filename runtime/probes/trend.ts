/** What changes with depth. */
import type { Random } from "../model/random.ts";
import { shuffle } from "./chance.ts";
import { mean } from "./statistics.ts";

/** From 0 to 1, the depths of so many places. */
export const evenly = (count: number): number[] => Array.from({ length: count }, (_, l) => l / (count - 1));

/** By how much values at evenly spaced depths fall from the first to the last, by least squares. */
export function fall(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  let [both, square] = [0, 0];
  for (const [l, value] of values.entries()) {
    both += (l - middle) * value;
    square += (l - middle) ** 2;
  }
  return (-both / square) * (values.length - 1);
}

/** Mean falls where each item's values come in an order of their own. */
export function shuffledLayers(
  byItem: readonly (readonly number[])[],
  draws: number,
  random: Random,
): Float64Array {
  const orders = byItem.map((values) => [...values]);
  return Float64Array.from({ length: draws }, () =>
    mean(orders.map((values) => fall(shuffle(values, random)))),
  );
}
