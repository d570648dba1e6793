/** The arithmetic of interventions on a row x of activations. */
import { ReflowError } from "../common/errors.ts";
import { componentOf, type Direction, difference, lengthOf, move, sparseDot } from "../math/direction.ts";
import { Random } from "../math/random.ts";
import { type Components, momentsOf } from "./reference.ts";
import type { Intervention } from "./spec.ts";

/** Changes a row in place. */
export type Change = (x: Float32Array, position: number) => void;

/** The data that an intervention needs at one hook point. */
export interface Ingredients {
  hook: string;
  /** Direction of the target. */
  u: Direction;
  /** Direction of `with`, for a swap. */
  other?: Direction;
  /** x·u over the reference text, if {@link needsReference} returns a field. */
  components?: Components;
}

/** The field that requires a reference text, if any. */
export function needsReference(intervention: Intervention): "unit" | "ablateWith" | undefined {
  if (intervention.op === "add") return intervention.unit === "sigma" ? "unit" : undefined;
  if (intervention.op !== "ablate") return undefined;
  return (intervention.ablateWith ?? "zero") === "zero" ? undefined : "ablateWith";
}

/** Whether the intervention leaves every row unchanged. */
export const isIdle = (intervention: Intervention): boolean =>
  (intervention.op === "add" && intervention.strength === 0) ||
  (intervention.op === "scale" && intervention.factor === 1);

/**
 * An intervention as a function that changes rows, with c = x·u.
 *
 * @param where the name of the intervention in errors
 * @throws ReflowError `usage` for a sigma unit of zero deviation, and for a swap of a direction with itself
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
    const message = `${where}.unit is "sigma", but the component is the same at every position of the reference text`;
    throw new ReflowError("usage", message, "use a longer reference text or another unit");
  }
  return () => strength * sd;
}

/** The value that c becomes when it is ablated. */
function replacementOf(
  replacement: "zero" | "mean" | "resample",
  { hook, components }: Ingredients,
): (position: number) => number {
  if (replacement === "zero") return () => 0;
  if (replacement === "mean") {
    const { mean } = momentsOf(components!);
    return () => mean;
  }
  // The draw depends only on the position, so that a sequence gives the same result in a batch and with or without a cache.
  return (position) => {
    const random = new Random(`resample/${hook}/${position}`);
    return components![Math.floor(random.uniform() * components!.length)];
  };
}

/**
 * Exchanges the components of x along u and w and leaves the orthogonal complement: the reflection that maps each to the
 * other, x − (x·u − x·w)/(1 − u·w)·(u − w).
 */
function swapOf(u: Direction, w: Direction, where: string): Change {
  const rest = 1 - sparseDot(u, w);
  if (rest < 1e-9) {
    const message = `${where}.with has the same direction as ${where}.target: expected another one`;
    throw new ReflowError("usage", message, "use two different directions");
  }
  const between = difference(u, w);
  return (x) => move(x, (componentOf(x, w) - componentOf(x, u)) / rest, between);
}
