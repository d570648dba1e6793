/** Components x·u over a reference text: the standard deviations, means and samples that interventions use. */
import type { Tensor } from "../backend/contract/backend.ts";
import { componentOf, type Direction } from "../math/direction.ts";
import { type HookSet, READOUT_HOOKS } from "../transformer/hooks.ts";
import { type InferenceModel, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import type { Overlay } from "../transformer/recipe-overlay.ts";
import { RunState } from "../transformer/run-state.ts";

/** A direction at a hook point. */
export interface Probe {
  hook: string;
  /** Distinguishes the direction from others at the hook point. */
  key: string;
  direction: Direction;
}

/** c = x·u at every position of the text, in order, in the unmodified model. */
export type Components = Float64Array;

/** The last reference text of a model, and the components measured on it. */
interface Measured {
  ids: Int32Array;
  components: Map<string, Components>;
}

/** Keyed by the embedding table or its overlay, because replacing either changes the model. */
const measured = new WeakMap<Tensor | Overlay, Measured>();

/** The cache is cleared when it exceeds this many components (32 MB). */
const REMEMBERED = 2 ** 22;

/**
 * Components along directions over a text, which is read in windows of the context. Components measured before with the same
 * table and text are reused; all others are measured in one pass.
 *
 * @throws the signal's reason once it is aborted
 */
export async function measure(
  model: InferenceModel,
  ids: Int32Array,
  probes: readonly Probe[],
  signal?: AbortSignal,
): Promise<(probe: Probe) => Components> {
  const table = (model.overlay ?? model.weights.recipe ?? model.weights.embedding)!;
  let known = measured.get(table);
  if (!known || !sameIds(known.ids, ids) || known.components.size * ids.length > REMEMBERED) {
    known = { ids, components: new Map() };
    measured.set(table, known);
  }
  const { components } = known;
  const missing = new Map(probes.map((probe) => [nameOf(probe), probe]));
  for (const name of components.keys()) missing.delete(name);
  if (missing.size > 0) {
    const found = await run(model, ids, [...missing.values()], signal);
    for (const [i, name] of [...missing.keys()].entries()) components.set(name, found[i]);
  }
  return (probe) => components.get(nameOf(probe))!;
}

const nameOf = ({ hook, key }: Probe): string => `${hook} ${key}`;

const sameIds = (a: Int32Array, b: Int32Array): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i]);

async function run(
  model: InferenceModel,
  ids: Int32Array,
  probes: readonly Probe[],
  signal?: AbortSignal,
): Promise<Components[]> {
  const { backend, config } = model;
  const found = probes.map(() => new Float64Array(ids.length));
  const context = Math.min(config.context, ids.length);
  const rows = Math.min(context, PREFILL_ROWS);
  const readout = probes.some(({ hook }) => READOUT_HOOKS.includes(hook));
  const state = new RunState(backend, config, { slots: 1, context, rows, logitRows: readout ? rows : 1 });
  let begin = 0;
  const hooks: HookSet = {
    has: (name) => probes.some(({ hook }) => hook === name),
    async at(name, tensor, _shape, { positions }) {
      const data = (await backend.read(tensor)) as Float32Array;
      const width = data.length / positions.length;
      for (const [i, { hook, direction }] of probes.entries()) {
        if (hook !== name) continue;
        for (const [row, position] of positions.entries()) {
          found[i][begin + position] = componentOf(data.subarray(row * width, (row + 1) * width), direction);
        }
      }
    },
  };
  try {
    for (; begin < ids.length; begin += context) {
      const window = ids.subarray(begin, begin + context);
      const whole = { ids: window, slot: 0, logits: readout ? window.length : 0, hooks, signal };
      for await (const _ of prefill(model, state, whole));
    }
  } finally {
    state.free();
  }
  return found;
}

/** Mean and population standard deviation (n in the denominator). */
export function momentsOf(components: Components): { mean: number; sd: number } {
  const n = components.length;
  const mean = components.reduce((sum, c) => sum + c, 0) / n;
  return { mean, sd: Math.sqrt(components.reduce((sum, c) => sum + (c - mean) ** 2, 0) / n) };
}
