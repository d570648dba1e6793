/** The logit lens (nostalgebraist 2020): predictions read from the residual stream after each block. */

import { ReflowError } from "../common/errors.ts";
import { yieldToEventLoop } from "../common/event-loop.ts";
import { invalidValue } from "../common/validation.ts";
import { architectureOf } from "../config/architecture.ts";
import { prepareRun, type RunOptions } from "../interventions/prepare-run.ts";
import { logprobs } from "../math/logits.ts";
import { chainHooks, type HookSet, READOUT_HOOKS } from "../transformer/hooks.ts";
import {
  checkIds,
  type InferenceModel,
  PREFILL_ROWS,
  prefill,
  tokenCount,
} from "../transformer/inference.ts";
import { linear, norm, statsShape } from "../transformer/layers.ts";
import { overlayLogits } from "../transformer/recipe-overlay.ts";
import { RunState } from "../transformer/run-state.ts";

export interface LensOptions extends RunOptions {
  /** The number of most likely tokens in each cell. Default: 5. */
  top?: number;
  /** Default: all positions. */
  positions?: readonly number[];
  signal?: AbortSignal;
}

/** Plain JSON. */
export interface Lens {
  tokens: { id: number; text: string }[];
  positions: number[];
  /** The hook points at which the residual stream is read: before the first block, and after each. */
  hooks: string[];
  /** Indexed by hook, then by position. */
  cells: LensCell[][];
}

export interface LensCell {
  /** Most likely first. */
  top: { id: number; text: string; probability: number }[];
  /** The probability of the text's next token; absent at the end. */
  next?: number;
}

/** Rows read out at a time, which bounds the memory of their logits. */
const ROWS = 32;

/** See `Model.lens`. */
export async function lens(
  loaded: InferenceModel,
  sequence: Int32Array | readonly number[],
  { top = 5, positions: asked, signal, ...options }: LensOptions = {},
): Promise<Lens> {
  const { config } = loaded;
  const { tokenizer } = loaded;
  const ids = checkIds(config, sequence);
  const T = ids.length;
  if (T === 0 || T > config.context) {
    throw new ReflowError("data", `a sequence of ${T} ids`, `use 1 to the context, ${config.context}`);
  }
  if (!(Number.isInteger(top) && top >= 0)) {
    throw invalidValue("top", top, "a whole number of at least 0", "it is how many tokens each cell lists");
  }
  const positions = asked ? [...asked] : Array.from(ids.keys());
  const missed = positions.findIndex(
    (position) => !(Number.isInteger(position) && position >= 0 && position < T),
  );
  if (missed >= 0) {
    throw invalidValue(
      `positions[${missed}]`,
      positions[missed],
      "one of the sequence's",
      `they are 0 to ${T - 1}`,
    );
  }
  const { model, hooks } = await prepareRun(loaded, options, [{ prompt: T, readout: T, end: T }], signal);
  const late = READOUT_HOOKS.find((name) => hooks?.has(name));
  if (late) {
    throw new ReflowError(
      "usage",
      `the lens does not include ${late}`,
      "intervene at a hook point in or before the blocks",
    );
  }
  const names = [
    "blocks.0.hook_resid_pre",
    ...Array.from({ length: config.n_layers }, (_, layer) => `blocks.${layer}.hook_resid_post`),
  ];
  const streams = await residuals(model, ids, names, hooks, signal);
  const vocabSize = tokenCount(loaded);
  const token = (id: number) => ({ id, text: tokenizer?.tokenText(id) ?? "" });
  const d = config.d_model;
  const rows = new Float32Array(names.length * positions.length * d);
  for (const [l, name] of names.entries()) {
    for (const [p, position] of positions.entries()) {
      const x = streams.get(name)!.subarray(position * d, (position + 1) * d);
      rows.set(x, (l * positions.length + p) * d);
    }
  }
  const cells = names.map((): LensCell[] => []);
  let row = 0;
  for await (const logits of readOut(model, rows, signal)) {
    const following = ids[positions[row % positions.length] + 1];
    const { top: likeliest, logprob } = logprobs(logits, following ?? 0, top, vocabSize);
    cells[Math.floor(row++ / positions.length)].push({
      top: likeliest.map(({ id, logprob }) => ({ ...token(id), probability: Math.exp(logprob) })),
      ...(following !== undefined && { next: Math.exp(logprob) }),
    });
  }
  return { tokens: Array.from(ids, token), positions, hooks: names, cells };
}

/** The residual stream (T,d) at some hook points. */
async function residuals(
  model: InferenceModel,
  ids: Int32Array,
  names: readonly string[],
  interventions: HookSet | undefined,
  signal?: AbortSignal,
): Promise<Map<string, Float32Array>> {
  const { backend, config } = model;
  const d = config.d_model;
  const found = new Map(names.map((name) => [name, new Float32Array(ids.length * d)]));
  const hooks: HookSet = {
    has: (name) => found.has(name),
    async at(name, tensor, _shape, { positions }) {
      found.get(name)!.set((await backend.read(tensor)) as Float32Array, positions[0] * d);
    },
  };
  const rows = Math.min(ids.length, PREFILL_ROWS);
  const state = new RunState(backend, config, { slots: 1, context: ids.length, rows, logitRows: 1 });
  try {
    const whole = { ids, slot: 0, logits: 0, hooks: chainHooks(interventions, hooks), signal };
    for await (const _ of prefill(model, state, whole));
  } finally {
    state.free();
  }
  return found;
}

/** Logits (V) of each row of x (N,d); each is valid until the next is requested. */
async function* readOut(
  { backend, config, weights, overlay }: InferenceModel,
  x: Float32Array,
  signal?: AbortSignal,
): AsyncGenerator<Float32Array> {
  const { d_model: d, n_signals: S = 0, vocab_size: V } = config;
  const N = x.length / d;
  const tensors = [
    backend.alloc([ROWS, d]),
    backend.alloc([ROWS, d]),
    backend.alloc(statsShape(architectureOf(config).norm, ROWS)),
    backend.alloc([ROWS, V]),
  ];
  if (weights.basis) tensors.push(backend.alloc([ROWS, S]));
  try {
    for (let from = 0; from < N; from += ROWS) {
      const n = Math.min(ROWS, N - from);
      const [stream, normalized, stats, logits, signals] = tensors.map((tensor) =>
        backend.view(tensor, [n, ...tensor.shape.slice(1)]),
      );
      backend.write(stream, x.subarray(from * d, (from + n) * d));
      norm(backend, normalized, stats, stream, weights.finalNorm);
      if (weights.basis) {
        linear(backend, signals, normalized, { weight: weights.basis });
        linear(backend, logits, signals, { weight: weights.recipe! });
        if (overlay) await overlayLogits(backend, logits, signals, overlay);
      } else {
        linear(backend, logits, normalized, { weight: weights.embedding! });
      }
      const data = (await backend.read(logits)) as Float32Array;
      for (let i = 0; i < n; i++) yield data.subarray(i * V, (i + 1) * V);
      await yieldToEventLoop(signal);
    }
  } finally {
    for (const tensor of tensors) backend.free(tensor);
  }
}
