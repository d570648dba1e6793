import { yieldToEventLoop } from "../common/event-loop.ts";
import { prepareRun } from "../interventions/prepare-run.ts";
import { chainHooks, type HookSet, hostHooks } from "../transformer/hooks.ts";
import { forward, type InferenceModel, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";
import type { GenerateEvent, GenerateOptions, Prompt } from "./options.ts";
import { type Sequence, startSequences } from "./sequence.ts";

/**
 * Continues prompts, all in one batch. Their events alternate, and the last event of each prompt is its finish event. Prompt
 * and generated tokens together never exceed the context: a sequence that reaches it ends with reason `length`. An empty
 * prompt starts from `<|endoftext|>`.
 *
 * @param loaded without a tokenizer, prompts are ids and text is empty
 * @throws ReflowError `data` for a prompt longer than the context and ids outside the vocabulary, `usage` for options
 *   out of range and interventions that cannot be applied, `numerics` for interventions that exceed the range of float32
 */
export async function* generate(
  loaded: InferenceModel,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
): AsyncGenerator<GenerateEvent, void, undefined> {
  const { backend, config } = loaded;
  const { cached = true, signal } = options;
  const ownHooks = options.hooks && hostHooks(backend, config, options.hooks);
  const sequences = startSequences(loaded, prompts, options);
  signal?.throwIfAborted();
  // The last generated token is returned but never read by the model.
  const passages = sequences.map(({ length, ids }) => ({
    prompt: length,
    readout: length - 1,
    end: ids.length - 1,
  }));
  const { model, hooks: interventions } = await prepareRun(loaded, options, passages, signal);
  const hooks = chainHooks(interventions, ownHooks);
  for (const s of sequences) yield* s.begin();
  /** Active sequences; sequence i is in slot i. */
  const active = sequences.filter((s) => !s.finished);
  if (active.length === 0) return;

  const state = runState(model, active, cached, ownHooks !== undefined);
  try {
    for (let first = true; active.length > 0; first = false) {
      const run = first || !cached ? runWhole : runLast;
      const rows = await run(model, state, active, signal, hooks);
      for (const [slot, s] of active.entries()) yield* s.next(rows[slot]);
      // The last sequence moves to the slot of one that ended.
      for (let slot = active.length - 1; slot >= 0; slot--) {
        if (!active[slot].finished) continue;
        const last = active.pop()!;
        if (slot === active.length) continue;
        active[slot] = last;
        state.move(active.length, slot);
      }
    }
  } finally {
    state.free();
  }
}

/** A run state large enough for these sequences at their maximum lengths. */
function runState(
  { backend, config }: InferenceModel,
  sequences: readonly Sequence[],
  cached: boolean,
  hooked: boolean,
): RunState {
  const slots = sequences.length;
  const context = Math.max(...sequences.map((s) => s.ids.length));
  const longest = cached ? Math.max(...sequences.map((s) => s.length)) : context;
  // Hooks receive a prompt whole; interventions act on rows, so that it may be split.
  const rows = Math.max(slots, hooked ? longest : Math.min(longest, PREFILL_ROWS));
  const state = new RunState(backend, config, { slots, context, rows, logitRows: slots });
  sequences.forEach((s, slot) => {
    state.sequences[slot] = s.index;
  });
  return state;
}

/** Runs each sequence from its start; returns the logits (V) after each one's last token. */
async function runWhole(
  model: InferenceModel,
  state: RunState,
  sequences: readonly Sequence[],
  signal: AbortSignal | undefined,
  hooks?: HookSet,
): Promise<Float32Array[]> {
  const last: Float32Array[] = [];
  for (const [slot, s] of sequences.entries()) {
    const whole = { ids: s.ids.subarray(0, s.length), slot, logits: 1, hooks, signal };
    for await (const { logits } of prefill(model, state, whole)) {
      if (logits) last.push((await model.backend.read(logits)) as Float32Array);
    }
  }
  return last;
}

/** Runs each sequence's last token over the cache; returns the logits (V) of each. */
async function runLast(
  model: InferenceModel,
  state: RunState,
  sequences: readonly Sequence[],
  signal: AbortSignal | undefined,
  hooks?: HookSet,
): Promise<Float32Array[]> {
  const step = {
    ids: Int32Array.from(sequences, (s) => s.ids[s.length - 1]),
    start: Int32Array.from(sequences, (s) => s.length - 1),
    slot: 0,
    logits: sequences.length,
  };
  const logits = (await forward(model, state, step, hooks))!;
  const all = (await model.backend.read(logits)) as Float32Array;
  await yieldToEventLoop(signal);
  const V = logits.shape[1];
  return sequences.map((_, i) => all.subarray(i * V, (i + 1) * V));
}
