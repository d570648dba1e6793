/** How well a model predicts a text, and how far modified predictions are from unmodified ones. */
import { ReflowError } from "../common/errors.ts";
import { prepareRun, type RunOptions } from "../interventions/prepare-run.ts";
import { klDivergence } from "../math/logits.ts";
import type { HookSet } from "../transformer/hooks.ts";
import { checkIds, type InferenceModel, PREFILL_ROWS, prefill } from "../transformer/inference.ts";
import { RunState } from "../transformer/run-state.ts";

export interface EvaluateOptions extends RunOptions {
  /** The step between windows in tokens. Default: half the context. */
  stride?: number;
  /** Called with the number of tokens predicted so far and in total. */
  onProgress?(done: number, of: number): void;
}

export interface Evaluation {
  /** Mean cross-entropy in nats per token. */
  loss: number;
  /** The number of predicted tokens: all but the first. */
  tokens: number;
}

type Ids = Int32Array | readonly number[];

/** See `Model.evaluate`. */
export async function evaluate(
  loaded: InferenceModel,
  text: Ids,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { config } = loaded;
  const { stride = Math.ceil(config.context / 2) } = options;
  const ids = checkIds(config, text);
  if (ids.length < 2) {
    throw new ReflowError("data", `${ids.length} tokens cannot be evaluated`, "give at least two");
  }
  if (!(Number.isInteger(stride) && stride >= 1 && stride <= config.context)) {
    throw new ReflowError("usage", `stride is ${stride}`, `use 1 to the context, ${config.context}`);
  }
  const tokens = ids.length - 1;
  const { model, hooks } = await prepareRun(loaded, options, [windowOf(loaded, tokens)]);
  let [sum, scored] = [0, 0];
  for await (const losses of lossesOf(model, ids, stride, hooks)) {
    for (const loss of losses) sum += loss;
    scored += losses.length;
    options.onProgress?.(scored, tokens);
  }
  return { loss: sum / tokens, tokens };
}

/** See `Model.logprobs`. */
export async function logprobsOf(model: InferenceModel, sequence: Ids): Promise<Float32Array> {
  const { config } = model;
  const ids = checkIds(config, sequence);
  if (ids.length > config.context + 1) {
    throw new ReflowError("data", `a sequence of ${ids.length} ids`, `use ${config.context + 1} at most`);
  }
  const all: number[] = [];
  for await (const losses of lossesOf(model, ids, config.context)) all.push(...losses);
  return Float32Array.from(all, (loss) => -loss);
}

/** The first window of a text; later ones have as many positions or fewer. */
function windowOf({ config }: InferenceModel, length: number) {
  const positions = Math.min(config.context, length);
  return { prompt: positions, readout: 0, end: positions };
}

/** The losses of all ids but the first, in order, in windows that begin `stride` tokens apart. */
async function* lossesOf(
  model: InferenceModel,
  ids: Int32Array,
  stride: number,
  hooks?: HookSet,
): AsyncGenerator<Float32Array> {
  const { backend, config } = model;
  const tokens = ids.length - 1;
  if (tokens < 1) return;
  const context = Math.min(config.context, tokens);
  const rows = Math.min(context, PREFILL_ROWS);
  const state = new RunState(backend, config, { slots: 1, context, rows, logitRows: rows });
  const targets = backend.alloc([rows], "i32");
  const losses = backend.alloc([rows]);
  try {
    for (let begin = 0, scored = 0; scored < tokens; begin += stride) {
      const stop = Math.min(begin + context, tokens);
      const window = { ids: ids.subarray(begin, stop), slot: 0, logits: stop - scored, hooks };
      scored = stop;
      for await (const { end, count, logits } of prefill(model, state, window)) {
        if (!logits) continue;
        const [some, next] = [backend.view(losses, [count]), backend.view(targets, [count])];
        backend.write(next, ids.subarray(begin + end - count + 1, begin + end + 1));
        backend.crossEntropy(some, logits, next, 0);
        yield (await backend.read(some)) as Float32Array;
      }
    }
  } finally {
    for (const tensor of [targets, losses]) backend.free(tensor);
    state.free();
  }
}

/** See `Model.divergence`. */
export async function divergence(
  loaded: InferenceModel,
  text: Ids,
  options: RunOptions & { signal?: AbortSignal },
): Promise<Float64Array> {
  const { backend, config } = loaded;
  const ids = checkIds(config, text);
  if (ids.length === 0) throw new ReflowError("data", "the text is empty", "give at least one token");
  const passage = windowOf(loaded, ids.length);
  const { signal } = options;
  const { model, hooks } = await prepareRun(loaded, options, [passage], signal);
  const found = new Float64Array(ids.length);
  const context = passage.end;
  const rows = Math.min(context, PREFILL_ROWS);
  const states: RunState[] = [];
  const newState = () => {
    states.push(new RunState(backend, config, { slots: 1, context, rows, logitRows: rows }));
    return states.at(-1)!;
  };
  try {
    const [plain, changed] = [newState(), newState()];
    for (let begin = 0; begin < ids.length; begin += context) {
      const window = ids.subarray(begin, begin + context);
      const whole = { ids: window, slot: 0, logits: window.length, signal };
      const others = prefill(model, changed, { ...whole, hooks });
      for await (const { end, count, logits } of prefill(loaded, plain, whole)) {
        const p = (await backend.read(logits!)) as Float32Array;
        const other = await others.next();
        const q = (await backend.read(other.value!.logits!)) as Float32Array;
        const V = config.vocab_size;
        for (let i = 0; i < count; i++) {
          const row = (logits: Float32Array) => logits.subarray(i * V, (i + 1) * V);
          found[begin + end - count + i] = klDivergence(row(p), row(q));
        }
      }
    }
  } finally {
    for (const state of states) state.free();
  }
  return found;
}
