/** Runs whole sequences through a model, with interventions and hooks. */
import { ReflowError } from "../common/errors.ts";
import type { ModelConfig } from "../config/config.ts";
import { HostTensor } from "../math/host-tensor.ts";
import { chainHooks, type HookSet, READOUT_HOOKS } from "../transformer/hooks.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { checkIds, forward, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";
import { prepareRun, type RunOptions } from "./prepare-run.ts";

/** One sequence of token ids, or several of one length. */
export type Ids = Int32Array | readonly number[] | readonly (Int32Array | readonly number[])[];

/** See `Model.forward`. */
export async function forwardAll(
  loaded: InferenceModel,
  ids: Ids,
  options: RunOptions = {},
): Promise<HostTensor> {
  const { backend, config } = loaded;
  const { sequences, length: T } = batchOf(config, ids);
  const { model, hooks } = await prepare(loaded, options, sequences.length, T);
  const V = config.vocab_size;
  const rows = Math.min(T, PREFILL_ROWS);
  const data = new Float32Array(sequences.length * T * V);
  const state = new RunState(backend, config, { slots: 1, context: T, rows, logitRows: rows });
  try {
    for (const [b, sequence] of sequences.entries()) {
      for await (const chunk of prefill(model, state, { ids: sequence, slot: 0, logits: T, hooks })) {
        const logits = (await backend.read(chunk.logits!)) as Float32Array;
        data.set(logits, (b * T + chunk.end - chunk.count) * V);
      }
    }
  } finally {
    state.free();
  }
  return new HostTensor([sequences.length, T, V], data);
}

/**
 * Runs all sequences in one step, so that hooks see them whole.
 *
 * @param options `logits` to return logits (B,T,V)
 */
export async function runHooked(
  loaded: InferenceModel,
  ids: Ids,
  hooks: HookSet,
  { logits: wanted = false, ...options }: RunOptions & { logits?: boolean },
): Promise<HostTensor | undefined> {
  const { backend, config } = loaded;
  const { sequences, length: T } = batchOf(config, ids);
  const B = sequences.length;
  const { model, hooks: interventions } = await prepare(loaded, options, B, T);
  const all = chainHooks(interventions, hooks)!;
  const readout = wanted || READOUT_HOOKS.some((name) => all.has(name));
  const rows = B * T;
  const step = { ids: new Int32Array(rows), start: new Int32Array(B), slot: 0, logits: readout ? rows : 0 };
  sequences.forEach((sequence, b) => {
    step.ids.set(sequence, b * T);
  });
  const logitRows = Math.max(1, step.logits);
  const state = new RunState(backend, config, { slots: B, context: T, rows, logitRows });
  try {
    const logits = await forward(model, state, step, all);
    if (!logits) return undefined;
    return new HostTensor([B, T, config.vocab_size], (await backend.read(logits)) as Float32Array);
  } finally {
    state.free();
  }
}

/** Prepares a run of B prompts of T ids. */
const prepare = (loaded: InferenceModel, options: RunOptions, B: number, T: number) =>
  prepareRun(loaded, options, Array(B).fill({ prompt: T, readout: 0, end: T }));

function batchOf(config: ModelConfig, ids: Ids): { sequences: Int32Array[]; length: number } {
  if (typeof ids === "string") {
    throw new ReflowError("usage", "expected ids, not text", "pass model.tokenize(text)");
  }
  const sequences = (isBatch(ids) ? ids : [ids]).map((sequence) => checkIds(config, sequence));
  const length = sequences[0]?.length ?? 0;
  const other = sequences.find((sequence) => sequence.length !== length);
  if (other) {
    throw new ReflowError(
      "data",
      `sequences of ${length} and ${other.length} ids in one batch`,
      "the sequences of a batch must have equal lengths: truncate them, or run them separately",
    );
  }
  if (length === 0 || length > config.context) {
    throw new ReflowError("data", `a sequence of ${length} ids`, `use 1 to the context, ${config.context}`);
  }
  return { sequences, length };
}

const isBatch = (ids: Ids): ids is readonly (Int32Array | readonly number[])[] =>
  Array.isArray(ids) && typeof ids[0] === "object";
