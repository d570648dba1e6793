/** Compiles interventions to hooks of a model. */

import type { Backend } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { invalidValue } from "../common/validation.ts";
import { type Direction, lengthOf } from "../math/direction.ts";
import type { HookRows, HookSet } from "../transformer/hooks.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { checkIds } from "../transformer/inference.ts";
import { type Change, changeOf, isIdle, needsReference } from "./apply.ts";
import { directionOf, signalReader } from "./directions.ts";
import { pointsOf } from "./points.ts";
import { measure, type Probe } from "./reference.ts";
import { type Intervention, parseInterventions } from "./spec.ts";

export interface SteeringOptions {
  /** Applied in order, before any hooks. See {@link Intervention}. */
  interventions?: readonly Intervention[];
  /** The text, or its ids, that standard deviations, means and samples come from: for `sigma`, `mean` and `resample`. */
  reference?: string | Int32Array | readonly number[];
}

/** The positions of a sequence that are run. */
export interface Passage {
  /** The prompt ends before this position. */
  prompt: number;
  /** The first position with a readout. */
  readout: number;
  /** The first position that is not run. */
  end: number;
}

/** An intervention resolved for a model. */
interface Plan {
  intervention: Intervention;
  /** Its name in errors. */
  where: string;
  names: string[];
  readout: boolean;
  u: Direction;
  other?: Direction;
  holds?: (x: Float32Array) => boolean;
}

/**
 * Hooks that apply interventions, or undefined if these change nothing: strength 0 is bit-equal to no intervention.
 *
 * @param passages one for each sequence of the caller
 * @throws ReflowError `usage` for an intervention that cannot be applied, naming the field
 */
export async function compileInterventions(
  model: InferenceModel,
  { interventions = [], reference }: SteeringOptions,
  passages: readonly Passage[],
  signal?: AbortSignal,
): Promise<HookSet | undefined> {
  const plans: Plan[] = [];
  for (const [i, intervention] of parseInterventions(interventions).entries()) {
    const plan = await planOf(model, intervention, `interventions[${i}]`);
    checkPositions(plan, model, passages);
    plans.push(plan);
  }
  const probed = plans.filter(({ intervention }) => needsReference(intervention));
  const ids = probed.length > 0 ? referenceIds(model, reference, probed[0]) : new Int32Array();
  const active = plans.filter(({ intervention }) => !isIdle(intervention));
  const probes = probed.filter((plan) => active.includes(plan)).flatMap(probesOf);
  const components = probes.length > 0 ? await measure(model, ids, probes, signal) : undefined;

  const steps = new Map<string, Step[]>();
  for (const plan of active) {
    const changes = probesOf(plan).map((probe): Step => {
      const given = { ...plan, hook: probe.hook, components: components?.(probe) };
      return { ...plan, change: changeOf(plan.intervention, given, plan.where) };
    });
    for (const [i, name] of plan.names.entries()) steps.set(name, [...(steps.get(name) ?? []), changes[i]]);
  }
  return steps.size > 0 ? stepHooks(model.backend, steps, passages) : undefined;
}

async function planOf(model: InferenceModel, intervention: Intervention, where: string): Promise<Plan> {
  const { names, space, readout } = pointsOf(model.config, intervention, where);
  const { target, when } = intervention;
  const plan: Plan = {
    intervention,
    where,
    names,
    readout,
    u: await directionOf(model, target, space, `${where}.target`),
  };
  if (intervention.op === "swap") {
    plan.other = await directionOf(model, intervention.with, space, `${where}.with`);
  }
  if (when) {
    const { gt = -Infinity, lt = Infinity } = when;
    const read = await signalReader(model, when.signal, space, `${where}.when.signal`);
    plan.holds = (x) => {
      const z = read(x);
      return z > gt && z < lt;
    };
  }
  return plan;
}

function checkPositions(
  { intervention, where, readout }: Plan,
  model: InferenceModel,
  passages: readonly Passage[],
): void {
  const { positions = "all", hook } = intervention;
  const { context } = model.config;
  const field = `${where}.positions`;
  if (typeof positions !== "string") {
    const beyond = positions.findIndex((position) => position >= context);
    if (beyond >= 0) {
      const help = `they are 0 to ${context - 1}`;
      throw invalidValue(`${field}[${beyond}]`, positions[beyond], "a position of the context", help);
    }
  }
  for (const [index, { prompt, end, ...passage }] of passages.entries()) {
    if (end < prompt) continue;
    const sequence = passages.length > 1 ? `sequence ${index}` : "the sequence";
    const first = readout ? passage.readout : 0;
    if (positions === "generated" && end === prompt) {
      const help =
        "the last generated token is never run: generate at least two tokens, or use other positions";
      throw invalidValue(
        field,
        positions,
        `a position that is run (only the prompt of ${sequence} is)`,
        help,
      );
    }
    if (typeof positions === "string") continue;
    const missed = positions.findIndex((position) => position < first || position >= end);
    if (missed < 0) continue;
    const help = `${hook} runs at positions ${first} to ${end - 1} of ${sequence}`;
    throw invalidValue(`${field}[${missed}]`, positions[missed], "a position that is run", help);
  }
}

function referenceIds(
  model: InferenceModel,
  reference: SteeringOptions["reference"],
  { intervention, where }: Plan,
): Int32Array {
  const field = needsReference(intervention)!;
  const given = `${where}.${field} is ${JSON.stringify(intervention[field as keyof Intervention])}`;
  const fail = (message: string, help: string) => new ReflowError("usage", message, help);
  if (reference === undefined) {
    throw fail(
      `${given}: expected a reference text`,
      "provide one: `reference` in code, --text FILE on the command line",
    );
  }
  if (typeof reference === "string" && !model.tokenizer) {
    throw fail(`${given}: the model has no tokenizer for the reference text`, "pass its ids");
  }
  const ids =
    typeof reference === "string" ? model.tokenizer!.encode(reference) : checkIds(model.config, reference);
  if (ids.length === 0) throw fail(`${given}: the reference text is empty`, "pass a longer one");
  return ids;
}

function probesOf({ intervention, names, u }: Plan): Probe[] {
  const key = JSON.stringify(intervention.target);
  return names.map((hook) => ({ hook, key, direction: u }));
}

/** One intervention at one hook point. */
interface Step extends Plan {
  change: Change;
}

/** Squares of larger numbers overflow float32, so that a norm would return 0 or NaN. */
const LARGEST = 1e18;

function stepHooks(
  backend: Backend,
  steps: ReadonlyMap<string, readonly Step[]>,
  passages: readonly Passage[],
): HookSet {
  return {
    has: (name) => steps.has(name),
    async at(name, tensor, _shape, rows) {
      const here = steps.get(name)!;
      const affected = rowsOf(here, rows, passages);
      if (affected.length === 0) return;
      // Only the span from the first affected row to the last is transferred: a long prompt may hold few of them.
      const [first, last] = [affected[0].row, affected[affected.length - 1].row];
      const width = tensor.size / rows.positions.length;
      const offset = first * width;
      const data = (await backend.read(tensor, offset, (last + 1) * width - offset)) as Float32Array;
      let changed = false;
      for (const { row, steps } of affected) {
        const x = data.subarray((row - first) * width, (row - first + 1) * width);
        const position = rows.positions[row];
        for (const { where, holds, change } of steps) {
          if (holds && !holds(x)) continue;
          change(x, position);
          changed = true;
          if (lengthOf(x) < LARGEST) continue;
          const message = `${where} makes ${name} at position ${position} too large for float32`;
          throw new ReflowError("numerics", message, "use a smaller strength, or fewer layers");
        }
      }
      if (changed) backend.write(tensor, data, offset);
    },
  };
}

/** The affected rows, in order. */
function rowsOf(
  steps: readonly Step[],
  { positions, sequences, length }: HookRows,
  passages: readonly Passage[],
): { row: number; steps: Step[] }[] {
  const affected: { row: number; steps: Step[] }[] = [];
  for (const [row, position] of positions.entries()) {
    const { prompt } = passages[sequences[Math.floor(row / length)]];
    const here = steps.filter(({ intervention }) => concerns(intervention, position, prompt));
    if (here.length > 0) affected.push({ row, steps: here });
  }
  return affected;
}

function concerns({ positions = "all" }: Intervention, position: number, prompt: number): boolean {
  if (positions === "all") return true;
  if (positions === "prompt") return position < prompt;
  if (positions === "generated") return position >= prompt;
  return positions.includes(position);
}
