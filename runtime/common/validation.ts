/** Helpers for validating input, shared by the intervention specification, patches and routes. */
import * as v from "valibot";
import { ReflowError } from "./errors.ts";

/** A value as shown in an error: JSON (except that NaN and infinities keep their names), truncated to 60 characters. */
export function displayValue(value: unknown): string {
  const text = typeof value === "number" ? String(value) : String(JSON.stringify(value));
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** The error for a field whose value is not what was expected. */
export function invalidValue(field: string, value: unknown, expected: string, help: string): ReflowError {
  return new ReflowError("usage", `${field} is ${displayValue(value)}: expected ${expected}`, help);
}

/**
 * The largest magnitude accepted for a number in an intervention or a patch. Larger ones have no use and exceed the
 * precision of float32: at strength 1e6 in units of the residual's norm, nothing of the original residual is left.
 */
export const MAX_MAGNITUDE = 1e6;

/** The message of each check names the expected value, from which {@link invalidValue} forms the sentence. */
export const finiteNumber = v.pipe(
  v.number("a finite number"),
  v.finite("a finite number"),
  v.check((x) => Math.abs(x) <= MAX_MAGNITUDE, `a number of at most ${MAX_MAGNITUDE} in magnitude`),
);

export const wholeNumber = v.pipe(
  v.number("a whole number of at least 0"),
  v.safeInteger("a whole number of at least 0"),
  v.minValue(0, "a whole number of at least 0"),
);
