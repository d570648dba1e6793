import type { AttentionShape, Backend, RopeOptions, Tensor } from "../backend/contract/backend.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";
import type { Alloc } from "./block.ts";
import { statsShape } from "./layers.ts";

export interface RunStateOptions {
  /** The number of sequences that the cache holds. */
  slots: number;
  /** Positions of each slot: at most the model's context. */
  context: number;
  /** The maximum number of rows, B·T, of one forward pass. */
  rows: number;
  /** The maximum number of rows of one forward pass with logits. */
  logitRows: number;
}

/** Activations of one forward pass of M rows, with N rows of the readout. */
function activationShapes(config: ModelConfig, M: number, N: number) {
  const { d_model: d, n_signals: S, d_ff, vocab_size: V } = config;
  const KD = architectureOf(config).kvWidth;
  return {
    /** The residual stream, the input of a branch, and its output. */
    x: [M, d],
    n: [M, d],
    out: [M, d],
    /** The statistics that norms write for a backward pass, which inference does not have. */
    stats: statsShape(architectureOf(config).norm, M),
    q: [M, d],
    k: [M, KD],
    v: [M, KD],
    z: [M, d],
    /** The MLP's gate, then its hidden values. */
    h: [M, d_ff],
    up: [M, d_ff],
    finalN: [N, d],
    finalStats: statsShape(architectureOf(config).norm, N),
    logits: [N, V],
    ...(architectureOf(config).factored ? { recipe: [M, S!], signals: [N, S!] } : {}),
  };
}

type Activations = { [name in keyof ReturnType<typeof activationShapes>]: Tensor };

function allocateState(config: ModelConfig, options: RunStateOptions, alloc: Alloc) {
  const { slots, context, rows, logitRows } = options;
  const caches = () =>
    Array.from({ length: config.n_layers }, () => alloc([slots, context, architectureOf(config).kvWidth]));
  return {
    activations: mapValues(activationShapes(config, rows, logitRows), (shape) => alloc(shape)) as Activations,
    ids: alloc([rows], "i32"),
    positions: alloc([rows], "i32"),
    start: alloc([slots], "i32"),
    /** By layer, (slots, context, K·D) */
    kCache: caches(),
    vCache: caches(),
  };
}

/** Bytes of a {@link RunState}, computed by the code that allocates it: its key/value cache, and everything else. */
export function stateBytes(
  config: ModelConfig,
  options: RunStateOptions,
): { cache: number; activations: number } {
  let bytes = 0;
  const { kCache, vCache } = allocateState(config, options, (shape, dtype = "f32") => {
    const size = shape.reduce((a, b) => a * b, 1);
    bytes += 4 * size;
    return { dtype, shape, size };
  });
  const cache = [...kCache, ...vCache].reduce((sum, { size }) => sum + 4 * size, 0);
  return { cache, activations: bytes - cache };
}

/** Tensors with the shapes of one step: views of the run state's memory. */
export interface Frame extends Activations {
  slot: number;
  /** i32 (B·T), (B·T) and (B) */
  ids: Tensor;
  positions: Tensor;
  start: Tensor;
  /** (N,d): the last N rows of x, the input of the readout */
  last: Tensor;
  /** By layer, (B, context, K·D) */
  kCache: Tensor[];
  vCache: Tensor[];
  attention: AttentionShape;
  ropeQ: RopeOptions;
  ropeK: RopeOptions;
}

/**
 * The key/value cache of a number of sequences, and the memory of one forward pass. Everything is allocated here; a step of
 * the same shape as the previous one, as in decoding, allocates nothing.
 */
export class RunState {
  readonly options: RunStateOptions;
  /** The index of the caller's sequence in each slot, passed to hooks. */
  readonly sequences: Int32Array;
  readonly #backend: Backend;
  readonly #config: ModelConfig;
  readonly #memory: ReturnType<typeof allocateState>;
  readonly #owned: Tensor[] = [];
  #frame: Frame | undefined;

  /** @throws ReflowError `memory` if it does not fit */
  constructor(backend: Backend, config: ModelConfig, options: RunStateOptions) {
    this.options = options;
    this.sequences = Int32Array.from({ length: options.slots }, (_, slot) => slot);
    this.#backend = backend;
    this.#config = config;
    try {
      this.#memory = allocateState(config, options, (shape, dtype) => {
        const tensor = backend.alloc(shape, dtype);
        this.#owned.push(tensor);
        return tensor;
      });
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** The tensors for B sequences of T rows in the slots from `slot` on, with logits of the last N rows. */
  frame(B: number, T: number, slot: number, N: number): Frame {
    const last = this.#frame;
    if (
      last?.attention.batch === B &&
      last.attention.length === T &&
      last.slot === slot &&
      last.logits.shape[0] === N
    ) {
      return last;
    }
    const { n_heads: heads, n_kv_heads: kvHeads, d_model } = this.#config;
    const { headDim } = architectureOf(this.#config);
    const { activations, ids, positions, kCache, vCache } = this.#memory;
    const view = (tensor: Tensor, shape: number[], offset = 0) => this.#backend.view(tensor, shape, offset);
    const shapes = activationShapes(this.#config, B * T, N);
    const start = view(this.#memory.start, [B]);
    const frame: Frame = {
      slot,
      ...mapValues(shapes, (shape, name) => view(activations[name]!, shape)),
      ids: view(ids, [B * T]),
      positions: view(positions, [B * T]),
      start,
      last: view(activations.x, [N, d_model], (B * T - N) * d_model),
      kCache: kCache.map((cache) => this.#slots(cache, slot, B)),
      vCache: vCache.map((cache) => this.#slots(cache, slot, B)),
      attention: { batch: B, length: T, heads, kvHeads, headDim },
      ropeQ: { length: T, heads, headDim, start },
      ropeK: { length: T, heads: kvHeads, headDim, start },
    };
    this.#frame = frame;
    return frame;
  }

  /** Copies the sequence of slot `from`, or its first `length` positions, to slot `to`. */
  move(from: number, to: number, length = this.options.context): void {
    for (const cache of [...this.#memory.kCache, ...this.#memory.vCache]) {
      const [, context, KD] = cache.shape;
      const positions = (slot: number) => this.#backend.view(cache, [length, KD], slot * context * KD);
      this.#backend.copy(positions(to), positions(from));
    }
    this.sequences[to] = this.sequences[from];
  }

  free(): void {
    for (const tensor of this.#owned) this.#backend.free(tensor);
  }

  #slots(cache: Tensor, slot: number, count: number): Tensor {
    const [, context, KD] = cache.shape;
    return this.#backend.view(cache, [count, context, KD], slot * context * KD);
  }
}

function mapValues<K extends string, A, B>(
  record: { [name in K]?: A },
  f: (value: A, name: K) => B,
): Record<K, B> {
  const entries = Object.entries(record) as [K, A][];
  return Object.fromEntries(entries.map(([name, value]) => [name, f(value, name)])) as Record<K, B>;
}
