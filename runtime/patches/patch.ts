/** Gene patches: sparse edits of R in their file form. `apply.ts` applies them to a model. */
import * as v from "valibot";
import { ReflowError } from "../common/errors.ts";
import { displayValue, finiteNumber, invalidValue, wholeNumber } from "../common/validation.ts";

/** R[token, signal] += delta */
export interface Edit {
  token: number;
  signal: number;
  delta: number;
}

/** A sparse edit of R, in both its uses. Edits of the same entry add up, in any order. */
export interface GenePatch {
  /** SHA-256 of the F32 `model.safetensors` that the patch is for. */
  model: string;
  edits: readonly Edit[];
}

const SHA256 = "64 hexadecimal digits, the SHA-256 of a model.safetensors";

/** For embedding in other schemas, such as the server's; {@link parsePatch} gives better error messages. */
export const patchSchema = v.strictObject(
  {
    model: v.pipe(v.string(SHA256), v.regex(/^[0-9a-f]{64}$/, SHA256)),
    edits: v.array(
      v.strictObject({ token: wholeNumber, signal: wholeNumber, delta: finiteNumber }, "an edit (an object)"),
      "a list of edits",
    ),
  },
  "a gene patch (an object)",
);

/**
 * Checks a patch as far as possible without its model.
 *
 * @param where the name of the patch in errors
 * @throws ReflowError `usage` naming the field, its value and what was expected
 */
export function parsePatch(json: unknown, where = "patch"): GenePatch {
  const result = v.safeParse(patchSchema, json);
  if (result.success) return result.output;
  // A misspelt key also causes a "missing" issue; only the unknown key is helpful to report.
  const isUnknown = ({ expected }: { expected: string | null }) => expected === "never";
  const issue = result.issues.find(isUnknown) ?? result.issues[0];
  const keys = (issue.path ?? []).map(({ key }) => (typeof key === "number" ? `[${key}]` : `.${key}`));
  const field = where + keys.join("");
  const help = 'a patch is {"model":SHA256,"edits":[{"token":1234,"signal":17,"delta":0.4}]}';
  if (isUnknown(issue)) throw new ReflowError("usage", `${field} is not a field`, help);
  if (issue.path?.at(-1)?.origin === "key") throw new ReflowError("usage", `${field} is missing`, help);
  throw invalidValue(field, issue.input, issue.message, help);
}

/** The text of a patch file. */
export const encodePatch = (patch: GenePatch): string => `${JSON.stringify(patch)}\n`;

/**
 * Edits sorted by token and signal, without pairs that cancel. Several deltas of one entry are kept separately, because a
 * rounded sum could not be undone exactly: patches form an exact group in which p + q − q equals p to the bit.
 */
export function netEdits(edits: readonly Edit[]): Edit[] {
  const counts = new Map<string, { token: number; signal: number; size: number; times: number }>();
  for (const { token, signal, delta } of edits) {
    const size = Math.abs(delta);
    const key = `${token} ${signal} ${size}`;
    const count = counts.get(key) ?? { token, signal, size, times: 0 };
    count.times += Math.sign(delta);
    counts.set(key, count);
  }
  return Array.from(counts.values(), ({ token, signal, size, times }) =>
    Array.from({ length: Math.abs(times) }, () => ({ token, signal, delta: Math.sign(times) * size })),
  )
    .flat()
    .sort((a, b) => a.token - b.token || a.signal - b.signal || a.delta - b.delta);
}

/**
 * The patch equivalent to applying all of these, in any order.
 *
 * @throws ReflowError `usage` for patches of different models
 */
export function composePatches(first: GenePatch, ...others: readonly GenePatch[]): GenePatch {
  for (const [i, { model }] of others.entries()) {
    if (model === first.model) continue;
    const help = "only patches of the same model can be composed";
    throw invalidValue(
      `model of patch ${i + 1}`,
      model,
      `${displayValue(first.model)}, that of patch 0,`,
      help,
    );
  }
  return { model: first.model, edits: netEdits([first, ...others].flatMap(({ edits }) => edits)) };
}

/** The patch that undoes this one: their composition has no edits. */
export function invertPatch({ model, edits }: GenePatch): GenePatch {
  return { model, edits: netEdits(edits.map((edit) => ({ ...edit, delta: -edit.delta }))) };
}
