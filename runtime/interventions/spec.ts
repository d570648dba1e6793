/** The intervention specification: types, schema and validation. `compile.ts` applies it to a model. */
import { closest } from "fastest-levenshtein";
import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";
import { displayValue, finiteNumber, invalidValue, wholeNumber } from "../common/validation.ts";

/**
 * A direction. A `token` is the token's literal text; in an `expression` a word stands for its token with a leading space,
 * and quotes make it literal; a `vector` has the width of the hook point.
 */
export type Target =
  | { signal: number }
  | { token: string }
  | { expression: string }
  | { vector: ArrayLike<number> };

/** The scope of an intervention, and the target whose unit direction u it acts along. */
export interface Place {
  target: Target;
  /** A hook point's full name, or its name without `blocks.{i}.` together with `layers`. */
  hook: string;
  /** The first and the last block, inclusive. */
  layers?: readonly [first: number, last: number];
  /**
   * A list counts from the start of each sequence. `generated` begins after the prompt; note that the prompt's last position
   * decides the first generated token. Default: `all`.
   */
  positions?: "all" | "prompt" | "generated" | readonly number[];
  /** Applies only where this signal, read at the same hook and position before the op, lies between the bounds. */
  when?: { signal: number; gt?: number; lt?: number };
}

/** x += δ·u */
export interface Add extends Place {
  op: "add";
  strength: number;
  /**
   * δ is strength times ‖x‖ at that position (`residNorm`), the target's length ‖v‖ (`raw`), or the standard deviation of
   * x·u over the reference text (`sigma`). Default: `raw`.
   */
  unit?: "residNorm" | "raw" | "sigma";
}

/** x·u becomes `value` */
export interface Assign extends Place {
  op: "set";
  value: number;
}

/** x·u becomes `factor` times itself */
export interface Scale extends Place {
  op: "scale";
  factor: number;
}

/** x·u becomes 0, its mean over the reference text, or its value at a random position of the reference text */
export interface Ablate extends Place {
  op: "ablate";
  /** Default: `zero`. */
  ablateWith?: "zero" | "mean" | "resample";
}

/** Exchanges the components along u and along `with`: x is reflected so that each direction maps to the other. */
export interface Swap extends Place {
  op: "swap";
  with: Target;
}

/**
 * One change to a model's activations.
 *
 * @example
 * const kinder: Intervention = {
 *   op: "add", target: { expression: "great - terrible" },
 *   hook: "hook_resid_post", layers: [0, 3], strength: 0.15, unit: "residNorm",
 * };
 */
export type Intervention = Add | Assign | Scale | Ablate | Swap;

const text = v.pipe(v.string("text"), v.nonEmpty("text"));
const numbers = v.custom<ArrayLike<number>>(
  (x) => (Array.isArray(x) || x instanceof Float32Array || x instanceof Float64Array) && x.length > 0,
  "a list of numbers",
);

const target = v.pipe(
  v.strictObject(
    {
      signal: v.optional(wholeNumber),
      token: v.optional(text),
      expression: v.optional(text),
      vector: v.optional(numbers),
    },
    "a target",
  ),
  v.check(
    (x) => Object.values(x).filter((value) => value !== undefined).length === 1,
    "one of signal, token, expression and vector",
  ),
  // The key that is present determines the kind.
  v.transform(
    (x) => Object.fromEntries(Object.entries(x).filter(([, value]) => value !== undefined)) as Target,
  ),
);

const NAMED_POSITIONS = ["all", "prompt", "generated"] as const;

const place = {
  target,
  hook: text,
  layers: v.optional(
    v.pipe(
      v.array(wholeNumber, "[first, last]"),
      v.check((x) => x.length === 2 && x[0] <= x[1], "[first, last]"),
      v.transform((x) => x as [first: number, last: number]),
    ),
  ),
  positions: v.optional(
    v.union(
      [v.picklist(NAMED_POSITIONS), v.pipe(v.array(wholeNumber), v.nonEmpty("a list of positions"))],
      `${NAMED_POSITIONS.join(", ")} or a list of positions`,
    ),
  ),
  when: v.optional(
    v.pipe(
      v.strictObject(
        { signal: wholeNumber, gt: v.optional(finiteNumber), lt: v.optional(finiteNumber) },
        "a condition",
      ),
      v.check(({ gt, lt }) => gt !== undefined || lt !== undefined, "a condition with gt or lt"),
    ),
  ),
};

const UNITS = ["residNorm", "raw", "sigma"] as const;
const REPLACEMENTS = ["zero", "mean", "resample"] as const;
const operations = [
  v.strictObject({
    op: v.literal("add"),
    ...place,
    strength: finiteNumber,
    unit: v.optional(v.picklist(UNITS, UNITS.join(", "))),
  }),
  v.strictObject({ op: v.literal("set"), ...place, value: finiteNumber }),
  v.strictObject({ op: v.literal("scale"), ...place, factor: finiteNumber }),
  v.strictObject({
    op: v.literal("ablate"),
    ...place,
    ablateWith: v.optional(v.picklist(REPLACEMENTS, REPLACEMENTS.join(", "))),
  }),
  v.strictObject({ op: v.literal("swap"), ...place, with: target }),
] as const;
const OPS = operations.map(({ entries }) => entries.op.literal);

/** For embedding in other schemas, such as the server's; {@link parseInterventions} gives better error messages. */
export const interventionsSchema = v.array(
  v.variant("op", operations, "an intervention (an object)"),
  "a list of interventions",
);

/**
 * Checks interventions as far as possible without a model.
 *
 * @param json a list, or one intervention
 * @throws ReflowError `usage` naming the field, its value and what was expected; for an unknown key, suggesting the nearest
 */
export function parseInterventions(json: unknown): Intervention[] {
  const alone = typeof json === "object" && json !== null && !Array.isArray(json);
  const result = v.safeParse(interventionsSchema, alone ? [json] : json);
  if (!result.success) {
    // A misspelt key also causes a "missing" issue; only the unknown key is helpful to report.
    throw describe(result.issues.find(isUnknownKey) ?? result.issues[0]);
  }
  for (const [i, each] of result.output.entries()) {
    checkVector(each.target, `interventions[${i}].target`);
    if (each.op === "swap") checkVector(each.with, `interventions[${i}].with`);
  }
  return result.output;
}

type Issue = v.BaseIssue<unknown>;

const isUnknownKey = (issue: Issue): boolean => issue.expected === "never";

function describe(issue: Issue): ReflowError {
  const path = issue.path ?? [];
  const keys = path.map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${key}`));
  const field = `interventions${keys.join("")}`;
  const [last, parent] = [path.at(-1), path.at(-2)];
  const { op } = (path[1]?.input ?? {}) as { op?: unknown };
  const help = HELP[String(path[1]?.key)] ?? fieldsHelp(op);
  if (last && isUnknownKey(issue)) return unknownKey(field, String(last.key), parent?.key, op);
  const missing = last?.origin === "key" || (last?.key === "op" && issue.input === undefined);
  if (missing) return new ReflowError("usage", `${field} is missing`, help);
  if (last?.key === "op" && typeof issue.input === "string") {
    return invalidValue(
      field,
      issue.input,
      OPS.join(", "),
      `did you mean ${displayValue(closest(issue.input, OPS))}?`,
    );
  }
  return invalidValue(field, issue.input, issue.message, help);
}

const A_TARGET =
  'a target is {"signal":17}, {"token":" king"}, {"expression":"king - man"} or {"vector":[0.5,-1,…]}';
const HELP: Record<string, string> = {
  target: A_TARGET,
  with: A_TARGET,
  when: 'a condition is {"signal":9,"gt":0.3}, with gt, lt or both',
  layers: "of the first and the last block, counted from 0",
};

/** The required and the optional fields of an op. */
function fieldsOf(op: unknown): { needed: string[]; more: string[] } {
  const [needed, more]: [string[], string[]] = [[], []];
  const found = operations.find(({ entries }) => entries.op.literal === op);
  const entries: Record<string, { type: string }> = found?.entries ?? {};
  for (const [name, { type }] of Object.entries(entries)) (type === "optional" ? more : needed).push(name);
  return { needed, more };
}

function fieldsHelp(op: unknown): string {
  const { needed, more } = fieldsOf(op);
  if (needed.length === 0) return `an intervention has an op: ${OPS.join(", ")}`;
  return `${displayValue(op)} needs ${needed.join(", ")}, and takes ${more.join(", ")}`;
}

function unknownKey(field: string, key: string, parent: unknown, op: unknown): ReflowError {
  const nested = parent === "when" ? place.when.wrapped : typeof parent === "string" ? target : undefined;
  const namesOf = (op: unknown) => Object.values(fieldsOf(op)).flat();
  const others = nested ? [] : OPS.filter((op) => namesOf(op).includes(key));
  if (others.length > 0) {
    const help = `it belongs to op ${others.map(displayValue).join(", ")}; ${fieldsHelp(op)}`;
    return new ReflowError("usage", `${field} is not a field of op ${displayValue(op)}`, help);
  }
  const known = nested ? Object.keys(nested.entries) : namesOf(op);
  return new ReflowError(
    "usage",
    `${field} is not a field`,
    `did you mean ${displayValue(closest(key, known))}?`,
  );
}

function checkVector(target: Target, where: string): void {
  if (!("vector" in target)) return;
  for (let i = 0; i < target.vector.length; i++) {
    const result = v.safeParse(finiteNumber, target.vector[i]);
    if (result.success) continue;
    const help = "the numbers are a direction's coordinates at the hook point";
    throw invalidValue(`${where}.vector[${i}]`, target.vector[i], result.issues[0].message, help);
  }
}
