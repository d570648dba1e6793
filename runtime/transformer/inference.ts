/**
 * The forward pass over a key/value cache, for all variants (after llama2.c). One code path serves prompts (one
 * sequence, many rows), decoding (many sequences of one row each, each at its own position) and whole batches (an empty
 * cache).
 */
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { yieldToEventLoop } from "../common/event-loop.ts";
import type { ModelConfig } from "../config/config.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type HookRows, type HookSet, hookPattern } from "./hooks.ts";
import { linear, linears, norm } from "./layers.ts";
import { type Overlay, overlayLogits, overlayRecipes } from "./recipe-overlay.ts";
import { type RunState, stateBytes } from "./run-state.ts";
import { type DeviceWeightFormat, type Weights, weightBytes } from "./weights.ts";

export interface InferenceModel {
  backend: Backend;
  config: ModelConfig;
  weights: Weights;
  /** Absent if the checkpoint has none: prompts are then ids, and targets signals or vectors. */
  tokenizer?: Tokenizer;
  /** SHA-256 of the F32 weights, if known. */
  checkpoint?: string;
  /** Edited recipes of a gene patch. A request with a patch gets its own copy of this object; weights are shared. */
  overlay?: Overlay;
}

/** The number of tokens a model can sample, score or edit: rows beyond the tokenizer's vocabulary are padding. */
export const tokenCount = ({ config, tokenizer }: InferenceModel): number =>
  Math.min(tokenizer?.vocabSize ?? Infinity, config.vocab_size);

export interface Step {
  /** (B,T), each in [0, V) */
  ids: Int32Array;
  /** (B): the position of each sequence's first row. The cache holds what comes before it. */
  start: Int32Array;
  /** The slot of the first sequence; the others follow it. */
  slot: number;
  /** The number of last rows of (B·T) to compute logits for; with hooks and B > 1, all or none. */
  logits: number;
}

/** Rows per pass over a long text: enough to keep the matrix kernels busy, few enough to keep memory small. */
export const PREFILL_ROWS = 128;

/** Bytes needed to generate `batch` sequences of `length` tokens: weights, key/value cache and activations of one pass. */
export function inferenceBytes(
  config: ModelConfig,
  weights: DeviceWeightFormat,
  { batch = 1, length = config.context } = {},
): { weights: number; cache: number; activations: number; total: number } {
  const rows = Math.max(batch, Math.min(PREFILL_ROWS, length));
  const { cache, activations } = stateBytes(config, {
    slots: batch,
    context: length,
    rows,
    logitRows: batch,
  });
  const held = weightBytes(config, weights);
  return { weights: held, cache, activations, total: held + cache + activations };
}

/**
 * Runs one step and leaves its keys and values in the cache. Without hooks and an overlay it never waits, except that a step
 * of more than {@link PREFILL_ROWS} rows yields to the event loop between blocks.
 *
 * @returns logits (N,V) for the step's last N rows, valid until the next step; undefined for N = 0
 */
export async function forward(
  { backend, config, weights, overlay }: InferenceModel,
  state: RunState,
  step: Step,
  hooks?: HookSet,
): Promise<Tensor | undefined> {
  const { n_heads: H, n_kv_heads: K, d_model: d, n_signals: S = 0, d_ff, vocab_size: V } = config;
  const B = step.start.length;
  const T = step.ids.length / B;
  const D = d / H;
  const f = state.frame(B, T, step.slot, step.logits);
  backend.write(f.ids, step.ids);
  backend.write(f.start, step.start);

  const rows = hooks && hookRows(step, state);
  const hook = pointOf(hooks, rows);
  // e (B·T,d) = R[ids]·B, or E[ids]
  if (weights.recipe) {
    backend.gather(f.recipe!, weights.recipe, f.ids);
    if (overlay) overlayRecipes(backend, f.recipe!, step.ids, overlay);
    if (hook) await hook("hook_recipe", f.recipe!, S);
    linear(backend, f.x, f.recipe!, { weight: weights.basisTransposed! });
  } else {
    backend.gather(f.x, weights.embedding!, f.ids);
  }
  if (hook) await hook("hook_embed", f.x, d);
  if (weights.position) {
    backend.write(f.positions, positionsOf(step));
    backend.gather(f.n, weights.position, f.positions);
    backend.add(f.x, f.x, f.n);
  }

  const isLong = step.ids.length > PREFILL_ROWS;
  for (let l = 0; l < config.n_layers; l++) {
    if (isLong) await yieldToEventLoop();
    const w = weights.blocks[l];
    const [kCache, vCache] = [f.kCache[l], f.vCache[l]];
    if (hook) await hook(`blocks.${l}.hook_resid_pre`, f.x, d);

    // x += Attention(norm(x))
    norm(backend, f.n, f.stats, f.x, w.attnNorm);
    linears(backend, [f.q, f.k, f.v], f.n, [w.q, w.k, w.v]); // (B·T,H·D), (B·T,K·D) twice
    if (hook) {
      await hook(`blocks.${l}.attn.hook_q`, f.q, H, D);
      await hook(`blocks.${l}.attn.hook_k`, f.k, K, D);
      await hook(`blocks.${l}.attn.hook_v`, f.v, K, D);
    }
    if (weights.rope) {
      backend.rope(f.q, weights.rope, f.ropeQ);
      backend.rope(f.k, weights.rope, f.ropeK);
    }
    if (hook && weights.rope) {
      await hook(`blocks.${l}.attn.hook_rot_q`, f.q, H, D);
      await hook(`blocks.${l}.attn.hook_rot_k`, f.k, K, D);
    }
    backend.writeCache(kCache, f.k, f.start);
    backend.writeCache(vCache, f.v, f.start);
    backend.attentionCached(f.z, f.q, kCache, vCache, f.start, f.attention);
    if (hooks && rows) {
      const inputs = { q: f.q, k: kCache, v: vCache, z: f.z, heads: H, kvHeads: K };
      await hookPattern(backend, hooks, `blocks.${l}.attn.hook_pattern`, inputs, rows);
    }
    if (hook) await hook(`blocks.${l}.attn.hook_z`, f.z, H, D);
    linear(backend, f.out, f.z, w.o);
    if (hook) await hook(`blocks.${l}.hook_attn_out`, f.out, d);
    // Not accumulated by the matrix product: x + out must round the same with and without hooks.
    backend.add(f.x, f.x, f.out);
    if (hook) await hook(`blocks.${l}.hook_resid_mid`, f.x, d);

    // x += MLP(norm(x))
    norm(backend, f.n, f.stats, f.x, w.mlpNorm);
    if (w.gate)
      linears(backend, [f.h, f.up], f.n, [w.gate, w.up]); // (B·T,d_ff) each
    else linear(backend, f.h, f.n, w.up);
    if (hook) await hook(`blocks.${l}.mlp.hook_pre`, f.h, d_ff);
    if (w.gate) backend.swiglu(f.h, f.h, f.up);
    else backend.gelu(f.h, f.h);
    if (hook) await hook(`blocks.${l}.mlp.hook_post`, f.h, d_ff);
    linear(backend, f.out, f.h, w.down);
    if (hook) await hook(`blocks.${l}.hook_mlp_out`, f.out, d);
    backend.add(f.x, f.x, f.out);
    if (hook) await hook(`blocks.${l}.hook_resid_post`, f.x, d);
  }

  // logits (N,V) = (norm(x)·Bᵀ)·Rᵀ, or norm(x)·Eᵀ
  const N = step.logits;
  if (N === 0) return undefined;
  if (isLong) await yieldToEventLoop();
  const lastRows = rows && { ...rows, length: N / B, positions: rows.positions.subarray(B * T - N) };
  const readoutHook = pointOf(hooks, lastRows);
  norm(backend, f.finalN, f.finalStats, f.last, weights.finalNorm);
  if (readoutHook) await readoutHook("ln_final.hook_normalized", f.finalN, d);
  if (weights.recipe) {
    linear(backend, f.signals!, f.finalN, { weight: weights.basis! });
    if (readoutHook) await readoutHook("hook_signals", f.signals!, S);
    linear(backend, f.logits, f.signals!, { weight: weights.recipe });
    if (overlay) await overlayLogits(backend, f.logits, f.signals!, overlay);
  } else {
    linear(backend, f.logits, f.finalN, { weight: weights.embedding! });
  }
  if (readoutHook) await readoutHook("hook_logits", f.logits, V);
  return f.logits;
}

/** A function that calls the hooks at a point, or undefined without hooks; `inner` is the shape of one row. */
function pointOf(hooks: HookSet | undefined, rows: HookRows | undefined) {
  if (!hooks || !rows) return undefined;
  return async (name: string, x: Tensor, ...inner: number[]) => {
    if (hooks.has(name)) await hooks.at(name, x, [rows.batch, rows.length, ...inner], rows);
  };
}

/** (B,T): each row's position in its sequence. */
function positionsOf({ ids, start }: Step): Int32Array {
  const T = ids.length / start.length;
  return Int32Array.from(ids, (_, row) => start[Math.floor(row / T)] + (row % T));
}

function hookRows(step: Step, state: RunState): HookRows {
  const batch = step.start.length;
  return {
    batch,
    length: step.ids.length / batch,
    positions: positionsOf(step),
    sequences: state.sequences.slice(step.slot, step.slot + batch),
  };
}

export interface Prefill {
  /** (T): one sequence from its start */
  ids: Int32Array;
  slot: number;
  /** The number of last rows to compute logits for. */
  logits: number;
  hooks?: HookSet;
  signal?: AbortSignal;
}

/** The result of one pass: logits (count,V) of the last `count` positions before `end`. */
export interface PrefillPass {
  end: number;
  count: number;
  logits: Tensor | undefined;
}

/**
 * Runs a sequence into an empty slot, in passes of as many rows as the run state has.
 *
 * @throws the signal's reason once it is aborted
 */
export async function* prefill(
  model: InferenceModel,
  state: RunState,
  { ids, slot, logits, hooks, signal }: Prefill,
): AsyncGenerator<PrefillPass> {
  const { rows } = state.options;
  for (let at = 0; at < ids.length; at += rows) {
    const end = Math.min(at + rows, ids.length);
    const count = Math.max(0, end - Math.max(at, ids.length - logits));
    const step = { ids: ids.subarray(at, end), start: Int32Array.of(at), slot, logits: count };
    yield { end, count, logits: await forward(model, state, step, hooks) };
    await yieldToEventLoop(signal);
  }
}

/** @throws ReflowError `data` for a value that is not an id of the model's vocabulary */
export function checkIds({ vocab_size }: ModelConfig, ids: ArrayLike<number>): Int32Array {
  for (let i = 0; i < ids.length; i++) {
    if (Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < vocab_size) continue;
    throw new ReflowError(
      "data",
      `token id ${ids[i]}, at position ${i}, is outside the vocabulary of ${vocab_size}`,
      `use ids from 0 to ${vocab_size - 1}, made with this model's tokenizer`,
    );
  }
  return Int32Array.from(ids);
}
