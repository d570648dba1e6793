/** The effect of interventions on a token's log-probability, beside that of random directions of the same strength. */

import { ReflowError } from "../common/errors.ts";
import { yieldToEventLoop } from "../common/event-loop.ts";
import { invalidValue } from "../common/validation.ts";
import { needsReference } from "../interventions/apply.ts";
import { compileInterventions, type SteeringOptions } from "../interventions/compile.ts";
import { directionOf, timesBasis } from "../interventions/directions.ts";
import { pointsOf, type Space } from "../interventions/points.ts";
import { type Intervention, parseInterventions, type Target } from "../interventions/spec.ts";
import { lengthOf } from "../math/direction.ts";
import { logprobs } from "../math/logits.ts";
import { randomDirection } from "../math/permutation.ts";
import { Random } from "../math/random.ts";
import { quantile } from "../math/statistics.ts";
import { applyPatch, type PatchOptions } from "../patches/apply.ts";
import { tokenOf } from "../text/expression.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";
import { readouts } from "./score-tokens.ts";

export interface ChanceBandOptions extends SteeringOptions, PatchOptions {
  interventions: readonly Intervention[];
  /** The token whose log-probability is measured: an id, or its literal text. */
  target: number | string;
  /** The number of random directions. Default: 16. */
  draws?: number;
  /** The seed of the random directions. Default: 1. */
  seed?: number;
  signal?: AbortSignal;
}

/** Log-probabilities in nats of a token as the continuation of a text. Plain JSON. */
export interface ChanceBand {
  target: { id: number; text: string };
  /** The log-probability without and with the interventions. */
  default: number;
  steered: number;
  /** The steered minus the default log-probability. */
  change: number;
  /** The change with random directions: the 5th and 95th percentiles of all draws. */
  low: number;
  high: number;
  draws: number[];
}

/** See `Model.chanceBand`. */
export async function chanceBand(
  loaded: InferenceModel,
  ids: Int32Array,
  { target: asked, draws = 16, seed = 1, signal, patch, reference, ...options }: ChanceBandOptions,
): Promise<ChanceBand> {
  const { tokenizer } = loaded;
  const rows = tokenCount(loaded);
  const target = typeof asked === "string" ? tokenOf(tokenizer, asked, { where: "target", rows }) : asked;
  if (!(Number.isInteger(target) && target >= 0 && target < rows)) {
    throw invalidValue("target", target, `one of ${rows} tokens`, `they are 0 to ${rows - 1}`);
  }
  if (!(Number.isInteger(draws) && draws >= 1)) {
    throw invalidValue(
      "draws",
      draws,
      "a whole number from 1 on",
      "it is how many random directions there are",
    );
  }
  const given = parseInterventions(options.interventions);
  if (given.length === 0) {
    throw new ReflowError(
      "usage",
      "there are no interventions to compare with random directions",
      "give at least one",
    );
  }
  const interventions = given.flatMap((each) => beforeEnd(each, ids.length));
  // Patched once, because measurements on the reference text are cached by the overlay.
  const patched = await applyPatch(loaded, patch);
  const logprobOf = async (interventions: readonly Intervention[], of = patched): Promise<number> => {
    const last = readouts(of, ids, { interventions, reference }, signal, ids.length - 1);
    for await (const { logits } of last) return logprobs(logits, target, 0, rows).logprob;
    throw new RangeError("no readout");
  };
  const own = await logprobOf([], loaded);
  const steered = await logprobOf(interventions);
  const drawn: Intervention[][] = [];
  for (let draw = 0; draw < draws; draw++) {
    const random = new Random(`${seed}/chance-band/${draw}`);
    const others: Intervention[] = [];
    for (const [i, each] of interventions.entries()) others.push(await elsewhere(patched, each, i, random));
    drawn.push(others);
  }
  if (interventions.some(needsReference)) {
    // The reference is read once for all draws: 0.65 s instead of 4.1 with 1,024 tokens.
    const passage = { prompt: ids.length, readout: ids.length - 1, end: ids.length };
    await compileInterventions(patched, { interventions: drawn.flat(), reference }, [passage], signal);
  }
  const changes: number[] = [];
  for (const others of drawn) {
    // A short text runs in one pass without checking the signal.
    await yieldToEventLoop(signal);
    changes.push((await logprobOf(others)) - own);
  }
  return {
    target: { id: target, text: tokenizer?.tokenText(target) ?? "" },
    default: own,
    steered,
    change: steered - own,
    low: quantile(changes, 0.05),
    high: quantile(changes, 0.95),
    draws: changes,
  };
}

/** Restricts an intervention to the positions up to the next token: later ones cannot affect it. */
function beforeEnd(intervention: Intervention, length: number): Intervention[] {
  const { positions = "all" } = intervention;
  if (positions === "generated") return [];
  if (typeof positions === "string") return [intervention];
  const before = positions.filter((position) => position < length);
  return before.length > 0 ? [{ ...intervention, positions: before }] : [];
}

/** The same intervention along a random direction of the same length. */
async function elsewhere(
  loaded: InferenceModel,
  intervention: Intervention,
  index: number,
  random: Random,
): Promise<Intervention> {
  const where = `interventions[${index}]`;
  const { space } = pointsOf(loaded.config, intervention, where);
  const match = async (target: Target, field: string): Promise<Target> => {
    const { length } = await directionOf(loaded, target, space, `${where}.${field}`);
    const drawn = await randomVector(loaded, space, random);
    const scale = length / lengthOf(drawn);
    return { vector: drawn.map((x) => x * scale) };
  };
  const target = await match(intervention.target, "target");
  return intervention.op === "swap"
    ? { ...intervention, target, with: await match(intervention.with, "with") }
    : { ...intervention, target };
}

/**
 * A random direction: uniform in recipe space; in the residual stream r·B for a random recipe r, distributed like a sum of
 * tokens at initialisation; over the logits, uniform among actual tokens.
 */
async function randomVector(model: InferenceModel, space: Space, random: Random): Promise<Float64Array> {
  const { backend, config, weights } = model;
  const { d_model: d, n_signals: S = d, vocab_size: V } = config;
  if (space === "logits") {
    const vector = new Float64Array(V);
    vector.set(randomDirection(tokenCount(model), random));
    return vector;
  }
  const recipe = Float64Array.from(randomDirection(S, random));
  if (space === "recipe" || space === "signals" || !weights.basis) return recipe;
  return timesBasis(recipe, (await backend.read(weights.basis)) as Float32Array);
}
