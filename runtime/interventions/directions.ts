/** Resolves targets to directions in the space of a hook point. */
import { ReflowError } from "../common/errors.ts";
import { displayValue, invalidValue } from "../common/validation.ts";
import { type Direction, directionAlong, dot } from "../math/direction.ts";
import { parseExpression, type Term, tokenOf } from "../text/expression.ts";
import { gatherRows } from "../transformer/embedding-tables.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";
import type { Space } from "./points.ts";
import type { Target } from "./spec.ts";

/**
 * The direction that a target stands for.
 *
 * For a token: v = r·B in the residual stream, where r is its recipe (its row of E if E is not factored); r itself at
 * `hook_recipe` and `hook_signals`; its own logit at `hook_logits`. For an expression: the sum over its tokens. For a
 * signal: B[s,:], or the s-th axis at `hook_recipe` and `hook_signals`.
 *
 * @param where the name of the target in errors
 * @throws ReflowError `usage` for a target without a direction in this space
 */
export async function directionOf(
  model: InferenceModel,
  target: Target,
  space: Space,
  where: string,
): Promise<Direction> {
  const { config } = model;
  const coordinates = await coordinatesOf(model, target, space, where);
  const direction = directionAlong(coordinates);
  if (!(direction.length > 0)) {
    throw new ReflowError("usage", `${where} has no direction: it adds up to zero`, "give another target");
  }
  const rows = tokenCount(model);
  if (space === "logits" && direction.indices.at(-1)! >= rows) {
    const at = direction.indices.find((i) => i >= rows);
    const help = `the tokens are 0 to ${rows - 1}; the other rows of ${config.vocab_size} are padding`;
    throw invalidValue(`${where}.vector[${at}]`, coordinates[at!], "0, because there is no such token", help);
  }
  return direction;
}

async function coordinatesOf(
  model: InferenceModel,
  target: Target,
  space: Space,
  where: string,
): Promise<Float64Array> {
  const { config } = model;
  const { d_model: d, n_signals: S = 0, vocab_size: V } = config;
  const width = { recipe: S, signals: S, residual: d, normalized: d, logits: V }[space];
  if ("vector" in target) {
    if (target.vector.length === width) return Float64Array.from(target.vector);
    const message = `${where}.vector has ${target.vector.length} numbers: expected ${width}`;
    throw new ReflowError("usage", message, "a vector has the width of its hook point");
  }
  if ("signal" in target) {
    checkSignal(model, target.signal, `${where}.signal`);
    if (space === "logits") {
      const message = `${where}.signal is ${target.signal}: expected a token at hook_logits`;
      throw new ReflowError(
        "usage",
        message,
        "act on a signal at hook_signals, from where it reaches all logits",
      );
    }
    return isStream(space) ? Float64Array.from(await basisRow(model, target.signal)) : axis(S, target.signal);
  }
  const terms = "token" in target ? [{ text: target.token, coefficient: 1 }] : undefined;
  const field = terms ? `${where}.token` : `${where}.expression`;
  const sum = terms ?? parseExpression((target as { expression: string }).expression, field);
  return tokenSum(model, sum, space, field);
}

/** Whether rows of the space are d wide, so that a recipe is represented by what it writes, r·B. */
const isStream = (space: Space): boolean => space === "residual" || space === "normalized";

/** Σ coefficient · (the token's representation in this space) */
async function tokenSum(
  model: InferenceModel,
  terms: readonly Term[],
  space: Space,
  where: string,
): Promise<Float64Array> {
  const rows = tokenCount(model);
  const ids = terms.map(({ text }) => tokenOf(model.tokenizer, text, { where, rows }));
  const sum = (parts: Float64Array[]) => {
    const total = new Float64Array(parts[0].length);
    for (const [t, part] of parts.entries()) {
      for (let i = 0; i < total.length; i++) total[i] += terms[t].coefficient * part[i];
    }
    return total;
  };
  if (space === "logits") return sum(ids.map((id) => axis(model.config.vocab_size, id)));
  const { recipe, basis } = model.weights;
  const total = sum((await gatherRows(model, ids)).map((row) => Float64Array.from(row)));
  return recipe && isStream(space)
    ? timesBasis(total, (await model.backend.read(basis!)) as Float32Array)
    : total;
}

/** r (S) · B (S,d) */
export function timesBasis(r: Float64Array, basis: Float32Array): Float64Array {
  const d = basis.length / r.length;
  const out = new Float64Array(d);
  for (let s = 0; s < r.length; s++) {
    if (r[s] !== 0) for (let i = 0; i < d; i++) out[i] += r[s] * basis[s * d + i];
  }
  return out;
}

async function basisRow(model: InferenceModel, s: number): Promise<Float32Array> {
  const { backend, config, weights } = model;
  return (await backend.read(weights.basis!, s * config.d_model, config.d_model)) as Float32Array;
}

const axis = (width: number, i: number): Float64Array => {
  const out = new Float64Array(width);
  out[i] = 1;
  return out;
};

function checkSignal(model: InferenceModel, signal: number, where: string): void {
  const { variant, n_signals } = model.config;
  if (n_signals === undefined) {
    const message = `${where} is ${signal}: a ${variant} has no signals`;
    throw new ReflowError("usage", message, "give a token, an expression or a vector");
  }
  if (signal >= n_signals) {
    throw invalidValue(where, signal, `one of ${n_signals} signals`, `they are 0 to ${n_signals - 1}`);
  }
}

/** The epsilon of RMSNorm. */
const EPS = 1e-5;

/**
 * A function that reads a signal from a row x of a space: z_s = RMSNorm(x)·B[s,:] with the final norm's weight in the
 * residual stream (the logit lens), x·B[s,:] after the norm, and x[s] for recipes and signals.
 *
 * @throws ReflowError `usage` for a signal out of range, and at `hook_logits`
 */
export async function signalReader(
  model: InferenceModel,
  signal: number,
  space: Space,
  where: string,
): Promise<(x: Float32Array) => number> {
  checkSignal(model, signal, where);
  if (space === "logits") {
    throw new ReflowError(
      "usage",
      `${where} is ${displayValue(signal)}: hook_logits has no signals`,
      "use hook_signals",
    );
  }
  if (space === "recipe" || space === "signals") return (x) => x[signal];
  const row = Float64Array.from(await basisRow(model, signal));
  if (space === "normalized") return (x) => dot(x, row);
  const { backend, weights } = model;
  const scale = await backend.read(weights.finalNorm.weight);
  const scaled = row.map((b, i) => b * scale[i]);
  return (x) => dot(x, scaled) / Math.sqrt(dot(x, x) / x.length + EPS);
}
