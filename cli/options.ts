import { InvalidArgumentError } from "commander";
import { closest } from "fastest-levenshtein";

/** What every command that takes a checkpoint says of it. */
export const CHECKPOINT = "a checkpoint's folder, or a run's for its newest";

/** For flags that take a whole number from `least` on. */
export function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`A whole number from ${least} on was expected.`);
  };
}

/** For flags that take one of some names. */
export function oneOf<T extends string>(names: readonly T[]) {
  return (text: string): T => {
    const name = names.find((each) => each === text);
    if (name) return name;
    throw new InvalidArgumentError(`Did you mean ${closest(text, names)}? There are ${names.join(", ")}.`);
  };
}
