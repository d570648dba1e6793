/** Exact attribution of a logit: logit_v = Σ_s R[v,s]·z_s, and the components that wrote each z_s. */
import { dot } from "../math/direction.ts";
import { gatherRows } from "../transformer/embedding-tables.ts";
import type { HookSet } from "../transformer/hooks.ts";
import { type InferenceModel, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";

/**
 * The readout at one position, and the share of each component that writes to the residual stream ("writer"). For an
 * unfactored model B is the identity, and its signals are the dimensions of the stream.
 */
export interface Reading {
  /** In the order of the forward pass: `embed`, `blocks.0.attn`, `blocks.0.mlp` and so on; last `interventions`, if any. */
  writers: Writer[];
  /** z (S) */
  signals: Float32Array;
  /** (V) */
  logits: Float32Array;
  /** B (S,d); absent if E is not factored */
  basis?: Float32Array;
}

export interface Writer {
  name: string;
  /** (d): its output after the final norm, with the scale of the whole stream. */
  normalized: Float64Array;
  /** (S): the amount added directly to z by interventions there. */
  signals?: Float64Array;
}

/** The epsilon of the norms. */
const EPS = 1e-5;

/**
 * Runs a text up to a position and decomposes the residual stream there. The readout is linear in each writer's output once
 * the scale of the final norm is held fixed, so the contributions of all writers add up to z. (In `gpt2` positions and the
 * bias of the norm are writers too, and the norm also subtracts each writer's mean.) Interventions are one further writer:
 * the amounts they add to the stream, to a writer's output, after the norm, or to z.
 *
 * @param ids the text; its last id is the position
 * @param interventions none of them on logits
 */
export async function takeReading(
  model: InferenceModel,
  ids: Int32Array,
  interventions?: HookSet,
): Promise<Reading> {
  const { backend, config, weights } = model;
  const layers = Array.from({ length: config.n_layers }, (_, l) => l);
  const lastBlock = `blocks.${config.n_layers - 1}.hook_resid_post`;
  const readout = weights.basis ? "hook_signals" : "ln_final.hook_normalized";
  const names = [
    "hook_embed",
    "blocks.0.hook_resid_pre",
    ...layers.flatMap((l) => [`blocks.${l}.hook_attn_out`, `blocks.${l}.hook_mlp_out`]),
    lastBlock,
    readout,
    "hook_logits",
  ];
  const { before, after } = await rowsAt(model, ids, names, interventions);
  const row = (name: string) => before.get(name)!;
  const changed = (name: string) => after.get(name) ?? row(name);
  /** The difference of two float32 rows, in float64. */
  const change = (name: string) => Float64Array.from(after.get(name)!, (x, i) => x - row(name)[i]);

  const embedding = row("hook_embed");
  const written: [name: string, out: ArrayLike<number>][] = [["embed", embedding]];
  if (weights.position) {
    const embedded = changed("hook_embed");
    written.push(["position", row("blocks.0.hook_resid_pre").map((x, i) => x - embedded[i])]);
  }
  for (const l of layers) {
    written.push([`blocks.${l}.attn`, row(`blocks.${l}.hook_attn_out`)]);
    written.push([`blocks.${l}.mlp`, row(`blocks.${l}.hook_mlp_out`)]);
  }
  const { weight, bias } = weights.finalNorm;
  const scale = await backend.read(weight);
  const centred = (x: ArrayLike<number>) => (bias ? offMean(x) : Float64Array.from(x));
  const stream = centred(changed(lastBlock));
  const rstd = 1 / Math.sqrt(stream.reduce((sum, x) => sum + x * x, 0) / stream.length + EPS);
  const normalized = (out: ArrayLike<number>) => centred(out).map((x, i) => x * rstd * scale[i]);
  const writers = written.map(([name, out]): Writer => ({ name, normalized: normalized(out) }));
  if (bias)
    writers.push({ name: "final_norm.bias", normalized: Float64Array.from(await backend.read(bias)) });
  if (interventions) {
    const added = new Float64Array(stream.length);
    const addAll = (values: Float64Array) => {
      for (const [i, x] of values.entries()) added[i] += x;
    };
    for (const name of after.keys()) {
      // With changed recipes, the embedding is computed from those.
      if (name === "hook_signals" || name === "hook_recipe") continue;
      addAll(name === "ln_final.hook_normalized" ? change(name) : normalized(change(name)));
    }
    const signals = after.has("hook_signals") ? change("hook_signals") : undefined;
    writers.push({ name: "interventions", normalized: added, signals });
  }
  const basis = weights.basis && ((await backend.read(weights.basis)) as Float32Array);
  return { writers, signals: changed(readout), logits: row("hook_logits"), basis };
}

function offMean(x: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(x);
  const mean = values.reduce((sum, each) => sum + each, 0) / values.length;
  return values.map((each) => each - mean);
}

type Rows = Map<string, Float32Array>;

/** Activations at the last position by hook point: before interventions, and after them where there are any. */
async function rowsAt(
  model: InferenceModel,
  ids: Int32Array,
  names: readonly string[],
  interventions: HookSet | undefined,
): Promise<{ before: Rows; after: Rows }> {
  const { backend, config } = model;
  const wanted = new Set(names);
  const before: Rows = new Map();
  const after: Rows = new Map();
  const hooks: HookSet = {
    has: (name) => wanted.has(name) || !!interventions?.has(name),
    async at(name, tensor, shape, given) {
      const keep = async (rows: Rows) => {
        if (given.positions.at(-1) !== ids.length - 1) return;
        const width = tensor.size / given.positions.length;
        rows.set(name, (await backend.read(tensor, tensor.size - width, width)) as Float32Array);
      };
      await keep(before);
      if (!interventions?.has(name)) return;
      await interventions.at(name, tensor, shape, given);
      await keep(after);
    },
  };
  const rows = Math.min(ids.length, PREFILL_ROWS);
  const state = new RunState(backend, config, { slots: 1, context: ids.length, rows, logitRows: 1 });
  try {
    for await (const _ of prefill(model, state, { ids, slot: 0, logits: 1, hooks }));
  } finally {
    state.free();
  }
  return { before, after };
}

/** A token's logit as sums of a {@link Reading}. */
export interface Ledger {
  /** R[v,s] (S) */
  recipe: Float32Array;
  /** R[v,s]·z_s (S); they add up to the logit */
  bySignal: Float64Array;
  /** Σ_s R[v,s]·z_s^w (W), by writer; they also add up to the logit */
  byWriter: Float64Array;
}

/** Attributes the logit of a token with row r of R. */
export async function ledgerOf(model: InferenceModel, reading: Reading, target: number): Promise<Ledger> {
  const { writers, signals, basis } = reading;
  const [recipe] = await gatherRows(model, [target]);
  const d = writers[0].normalized.length;
  const direction = new Float64Array(d); // e_v = R[v,:]·B
  if (!basis) direction.set(recipe);
  else {
    for (const [s, weight] of recipe.entries()) {
      for (let i = 0; i < d; i++) direction[i] += weight * basis[s * d + i];
    }
  }
  return {
    recipe,
    bySignal: Float64Array.from(recipe, (weight, s) => weight * signals[s]),
    byWriter: Float64Array.from(
      writers,
      ({ normalized, signals }) => dot(normalized, direction) + (signals ? dot(signals, recipe) : 0),
    ),
  };
}

/** R[v,s]·z_s^w (W): the share of each writer in one signal's contribution */
export function writersOf({ writers, basis }: Reading, recipe: Float32Array, s: number): number[] {
  return writers.map(({ normalized, signals }) => {
    const d = normalized.length;
    const value = basis ? dot(normalized, basis.subarray(s * d, (s + 1) * d)) : normalized[s];
    return recipe[s] * (value + (signals?.[s] ?? 0));
  });
}
