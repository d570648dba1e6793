/** What interventions do to a row x of activations. */
import { ReflowError } from "../common/errors.ts";
import { componentOf, type Direction, difference, lengthOf, move, sparseDot } from "../math/direction.ts";
import { Random } from "../math/random.ts";
import { type Components, momentsOf } from "./reference.ts";
import type { Intervention } from "./spec.ts";

/** Changes a row in place. */
export type Change = (x: Float32Array, position: number) => void;

/** What an intervention needs to know at one hook point. */
export interface Ingredients {
  hook: string;
  /** The target's. */
  u: Direction;
  /** Of a swap: that of `with`. */
  other?: Direction;
  /** x·u over the reference text, where {@link needsReference} says so. */
  components?: Components;
}

/** Which field asks for a reference text, if one does. */
export function needsReference(intervention: Intervention): "unit" | "ablateWith" | undefined {
  if (intervention.op === "add") return intervention.unit === "sigma" ? "unit" : undefined;
  if (intervention.op !== "ablate") return undefined;
  return (intervention.ablateWith ?? "zero") === "zero" ? undefined : "ablateWith";
}

/** Whether it leaves every row as it is. */
export const isIdle = (intervention: Intervention): boolean =>
  (intervention.op === "add" && intervention.strength === 0) ||
  (intervention.op === "scale" && intervention.factor === 1);

/**
 * An intervention as a change of rows, with c = x·u.
 *
 * @param where what to call the intervention in errors
 * @throws ReflowError `usage` for a unit of no size, and a swap of a direction with itself
 */
export function changeOf(intervention: Intervention, given: Ingredients, where: string): Change {
  const { u } = given;
  switch (intervention.op) {
    case "add": {
      const delta = deltaOf(intervention.strength, intervention.unit ?? "raw", given, where);
      return (x) => move(x, delta(x), u);
    }
    case "set":
      return (x) => move(x, intervention.value - componentOf(x, u), u);
    case "scale":
      return (x) => move(x, (intervention.factor - 1) * componentOf(x, u), u);
    case "ablate": {
      const replacement = replacementOf(intervention.ablateWith ?? "zero", given);
      return (x, position) => move(x, replacement(position) - componentOf(x, u), u);
    }
    case "swap":
      return swapOf(u, given.other!, where);
  }
}

/** δ of an `add`, for a row x. */
function deltaOf(
  strength: number,
  unit: "residNorm" | "raw" | "sigma",
  { u, components }: Ingredients,
  where: string,
): (x: Float32Array) => number {
  if (unit === "residNorm") return (x) => strength * lengthOf(x);
  if (unit === "raw") return () => strength * u.length;
  const { sd } = momentsOf(components!);
  if (!(sd > 0)) {
    const message = `${where}.unit is "sigma", and the component is the same at every position of the reference`;
    throw new ReflowError("usage", message, "give a longer reference, or another unit");
  }
  return () => strength * sd;
}

/** What c becomes when it is ablated. */
function replacementOf(
  replacement: "zero" | "mean" | "resample",
  { hook, components }: Ingredients,
): (position: number) => number {
  if (replacement === "zero") return () => 0;
  if (replacement === "mean") {
    const { mean } = momentsOf(components!);
    return () => mean;
  }
  // The draw depends on where it is alone: so a sequence is the same in a batch, and with or without a cache.
  return (position) => {
    const random = new Random(`resample/${hook}/${position}`);
    return components![Math.floor(random.uniform() * components!.length)];
  };
}

/**
 * Exchanges the components of x along u and w, what is orthogonal to both staying: the reflection that takes each to the
 * other, x − (x·u − x·w)/(1 − u·w)·(u − w).
 */
function swapOf(u: Direction, w: Direction, where: string): Change {
  const rest = 1 - sparseDot(u, w);
  if (rest < 1e-9) {
    const message = `${where}.with has the direction of ${where}.target: there is nothing to swap`;
    throw new ReflowError("usage", message, "give two different directions");
  }
  const between = difference(u, w);
  return (x) => move(x, (componentOf(x, w) - componentOf(x, u)) / rest, between);
}
