/** Log-probabilities of the tokens of a text. */
import { ReflowError } from "../common/errors.ts";
import { prepareRun, type RunOptions } from "../interventions/prepare-run.ts";
import { type Logprob, logprobs } from "../math/logits.ts";
import type { InferenceModel } from "../transformer/inference.ts";
import { checkIds, PREFILL_ROWS, prefill, tokenCount } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";

export interface ScoreOptions extends RunOptions {
  /** The number of most likely tokens to report at each position. Default: 0. */
  top?: number;
  signal?: AbortSignal;
}

export interface TokenScore {
  id: number;
  /** In nats, given the tokens before it; absent for the first token. */
  logprob?: number;
  /** The most likely tokens at its position. */
  top: Logprob[];
}

/** See `Model.scoreTokens`. */
export async function scoreTokens(
  loaded: InferenceModel,
  sequence: Int32Array | readonly number[],
  { top = 0, signal, ...options }: ScoreOptions = {},
): Promise<TokenScore[]> {
  const { config } = loaded;
  const ids = checkIds(config, sequence);
  const scores = Array.from(ids, (id): TokenScore => ({ id, top: [] }));
  if (ids.length === 0) return scores;
  const vocabSize = tokenCount(loaded);
  for await (const { position, logits } of readouts(loaded, ids, options, signal)) {
    const next = scores[position + 1];
    if (next) Object.assign(next, logprobs(logits, next.id, top, vocabSize));
  }
  return scores;
}

/**
 * Logits (V) of a text after each position from `from` on; each is valid until the next is requested.
 *
 * @throws ReflowError as `Model.forward`; the signal's reason once it is aborted
 */
export async function* readouts(
  loaded: InferenceModel,
  ids: Int32Array,
  options: RunOptions,
  signal?: AbortSignal,
  from = 0,
): AsyncGenerator<{ position: number; logits: Float32Array }> {
  const { backend, config } = loaded;
  const [T, V] = [ids.length, config.vocab_size];
  if (T === 0 || T > config.context) {
    throw new ReflowError("data", `a sequence of ${T} ids`, `use 1 to the context, ${config.context}`);
  }
  const { model, hooks } = await prepareRun(loaded, options, [{ prompt: T, readout: from, end: T }], signal);
  const rows = Math.min(T, PREFILL_ROWS);
  const state = new RunState(backend, config, {
    slots: 1,
    context: T,
    rows,
    logitRows: Math.min(rows, T - from),
  });
  try {
    const whole = { ids, slot: 0, logits: T - from, hooks, signal };
    for await (const { end, count, logits } of prefill(model, state, whole)) {
      if (!logits) continue;
      const some = (await backend.read(logits)) as Float32Array;
      for (let i = 0; i < count; i++) {
        yield { position: end - count + i, logits: some.subarray(i * V, (i + 1) * V) };
      }
    }
  } finally {
    state.free();
  }
}
