/**
 * The Backend contract: some thirty kernels over device tensors, implemented by `wasm/` and `webgpu/`.
 *
 * - Ops run in the order they are called and return nothing. A backend may run an op at once (WASM) or record it
 *   and submit later (WebGPU); only {@link Backend.read} waits.
 * - Ops allocate nothing. Callers allocate tensors once, up front, and pass outputs first.
 * - Shapes are explicit. A kernel takes sizes from its tensors, and from its options those that tensors do not determine.
 *   Tensors are dense and row-major. Mismatched shapes throw `RangeError`: they are bugs, not user errors.
 * - Outputs must not overlap inputs unless the op allows it.
 * - `dX` is the gradient of the loss with respect to X. Backward ops *add* into gradients of parameters (marked
 *   `+=`), so that micro-batches accumulate, and *overwrite* gradients of activations, unless stated otherwise.
 * - Every op is deterministic: the same inputs give the same bits for any number of threads.
 *
 * Letters in shapes: B sequences, T positions, M = B·T rows, C any width, V vocabulary, S signals, d model width,
 * H query heads, K key/value heads, D head width.
 */

export type DType = "f32" | "i32" | "f16" | "i8";
export type HostArray = Float32Array | Int32Array | Uint16Array | Int8Array;

/** A dense array that lives on a device. Only the backend that made it can use it. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Number of elements. */
  readonly size: number;
  /**
   * For `i8`: F32 scales of shape (rows, ceil(columns/32)), one per group of 32 values of a row:
   * value[r, c] = i8[r, c] · scale[r, c >> 5].
   */
  readonly scale?: Tensor;
}

export interface MatmulOptions {
  /** Use aᵀ: `a` is stored (inner, rows). */
  transA?: boolean;
  /** Use bᵀ: `b` is stored (columns, inner), as linear weights are. */
  transB?: boolean;
  /** out += a·b in place of out = a·b. */
  accumulate?: boolean;
}

export interface AttentionShape {
  /** B */
  batch: number;
  /** T */
  length: number;
  /** H */
  heads: number;
  /** K, a divisor of H: query head h reads key/value head floor(h·K/H). */
  kvHeads: number;
  /** D */
  headDim: number;
}

export interface RopeOptions {
  /** T: rows are (B,T) */
  length: number;
  /** H or K */
  heads: number;
  /** D, even */
  headDim: number;
  /** Rotate by the negative angle: the backward of the forward. */
  inverse?: boolean;
  /** i32 (B): the position of each sequence's first row; 0 where absent. */
  start?: Tensor;
}

export interface AdamWOptions {
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** 1 for the first update: corrects the bias of both moments. */
  step: number;
  /** Global-norm clip: gradients are scaled by min(1, clip / (norm + 1e-6)). 0 is off. */
  clip: number;
}

export interface Backend {
  readonly name: "wasm" | "webgpu";
  /** One line for display: engine, threads or adapter, and the build or tier chosen. */
  readonly description: string;
  /**
   * Minimum number of rows of logits in a chunk of the loss. Each chunk passes over the gradient of the whole table, and a
   * GPU needs more rows than a CPU to be busy.
   */
  readonly lossRows: number;

  // ---- memory ----------------------------------------------------------------------------------------------
  /** Allocates a zero-filled tensor. For `i8`, which must be two-dimensional, its `scale` is allocated with it. */
  alloc(shape: readonly number[], dtype?: DType): Tensor;
  /** Frees the memory. Views share it and are freed with their tensor. */
  free(tensor: Tensor): void;
  /** The same memory with another shape, from element `offset` on. Not for `i8`. */
  view(tensor: Tensor, shape: readonly number[], offset?: number): Tensor;
  /** Copies host values to the tensor, from element `offset` on. f16 values are bit patterns in a Uint16Array. */
  write(tensor: Tensor, values: HostArray, offset?: number): void;
  /** Waits for all earlier ops and copies values to the host. */
  read(tensor: Tensor, offset?: number, length?: number): Promise<HostArray>;
  /** Bytes of all tensors now, and at the peak. */
  memory(): { allocated: number; peak: number };
  /** Stops the workers or releases the device. No op may follow. */
  dispose(): void;

  // ---- whole tensors ---------------------------------------------------------------------------------------
  /** x = value */
  fill(x: Tensor, value: number): void;
  /** out = x; f32 or i32 */
  copy(out: Tensor, x: Tensor): void;
  /** out = a + b; `out` may be `a` or `b` */
  add(out: Tensor, a: Tensor, b: Tensor): void;
  /** x += b, with b repeated over x's leading dimensions: biases (C) over (M,C), positions (T,d) over (B,T,d). */
  addBroadcast(x: Tensor, b: Tensor): void;
  /** db += dx summed over its leading dimensions. */
  sumBroadcast(db: Tensor, dx: Tensor): void;

  // ---- matrices --------------------------------------------------------------------------------------------
  /**
   * out (R,C) = a·b, all two-dimensional. With `transB` alone, `b` may be `f16` or `i8`; with `i8`
   * each row of `a` is rounded to int8 by groups of 32 as well (absolute maximum / 127), for any number of rows.
   */
  matmul(out: Tensor, a: Tensor, b: Tensor, options?: MatmulOptions): void;
  /**
   * outs[i] (M,Ni) = x (M,K)·weights[i]ᵀ for up to three weights (Ni,K) of one dtype: {@link Backend.matmul} with
   * `transB`. For few rows this is a single op, since decoding spends as long on waiting for threads as on multiplying.
   */
  linears(outs: readonly Tensor[], x: Tensor, weights: readonly Tensor[]): void;

  // ---- tables ----------------------------------------------------------------------------------------------
  /** out (M,C) = table[ids]; table (V,C) is f32, f16 or i8, ids i32 (M), each in [0, V). */
  gather(out: Tensor, table: Tensor, ids: Tensor): void;
  /** dTable[ids] += dOut; repeated ids are added in order of position. */
  scatterAdd(dTable: Tensor, ids: Tensor, dOut: Tensor): void;
  /** For each row of x (V,S): out = the k largest of relu(x), zero elsewhere. Among equals, the lowest index is kept. */
  topk(out: Tensor, x: Tensor, k: number): void;
  /** dx = dOut where out > 0, else 0. `dx` may be `dOut`. */
  topkBackward(dx: Tensor, dOut: Tensor, out: Tensor): void;

  // ---- norms, eps = 1e-5 -----------------------------------------------------------------------------------
  /** out (M,C) = x · rstd · weight with rstd (M) = 1/sqrt(mean(x²) + eps), kept for the backward. */
  rmsnorm(out: Tensor, rstd: Tensor, x: Tensor, weight: Tensor): void;
  /** dx += …; dWeight += …. dx is *added to*: it already holds the residual's gradient. */
  rmsnormBackward(dx: Tensor, dWeight: Tensor, dOut: Tensor, x: Tensor, weight: Tensor, rstd: Tensor): void;
  /** out (M,C) = (x − mean)·rstd·weight + bias; `stats` (M,2) keeps mean and rstd for the backward. */
  layernorm(out: Tensor, stats: Tensor, x: Tensor, weight: Tensor, bias: Tensor): void;
  /** dx += …; dWeight += …; dBias += … */
  layernormBackward(
    dx: Tensor,
    dWeight: Tensor,
    dBias: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Tensor,
    stats: Tensor,
  ): void;

  // ---- attention -------------------------------------------------------------------------------------------
  /**
   * Rotates x (B·T, heads·D) in place, rotate-half: pairs are (i, i + D/2). `table` (positions, D) holds for each
   * position D/2 cosines, then D/2 sines (see `ropeTable` in `transformer/rope.ts`).
   */
  rope(x: Tensor, table: Tensor, options: RopeOptions): void;
  /**
   * Causal softmax(q·kᵀ/√D)·v. q, out (B·T, H·D); k, v (B·T, K·D); `lse` (B·H, T) keeps each row's
   * log-sum-exp of the scaled scores.
   */
  attention(out: Tensor, lse: Tensor, q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape): void;
  /** Overwrites dq, dk and dv. */
  attentionBackward(
    dq: Tensor,
    dk: Tensor,
    dv: Tensor,
    dOut: Tensor,
    out: Tensor,
    lse: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    shape: AttentionShape,
  ): void;
  /** cache (B, context, K·D) [b, start[b] + t] = x (B·T, K·D) [b, t]; start i32 (B). */
  writeCache(cache: Tensor, x: Tensor, start: Tensor): void;
  /**
   * Attention of `length` new rows per sequence over a cache that already holds them: row t of sequence b sees
   * positions 0 … start[b] + t. q, out (B·T, H·D); kCache, vCache (B, context, K·D).
   */
  attentionCached(
    out: Tensor,
    q: Tensor,
    kCache: Tensor,
    vCache: Tensor,
    start: Tensor,
    shape: AttentionShape,
  ): void;

  // ---- activations -----------------------------------------------------------------------------------------
  /** out = silu(gate)·up; `out` may be `gate` or `up` */
  swiglu(out: Tensor, gate: Tensor, up: Tensor): void;
  swigluBackward(dGate: Tensor, dUp: Tensor, dOut: Tensor, gate: Tensor, up: Tensor): void;
  /** The tanh approximation; `out` may be `x` */
  gelu(out: Tensor, x: Tensor): void;
  geluBackward(dx: Tensor, dOut: Tensor, x: Tensor): void;

  // ---- loss and optimizer ----------------------------------------------------------------------------------
  /**
   * losses (M) = −log softmax(logits)[target] in nats. The logits (M,V) are then overwritten with their own gradient,
   * (softmax − onehot)·scale, unless scale is 0, which leaves them unchanged.
   */
  crossEntropy(losses: Tensor, logits: Tensor, targets: Tensor, scale: number): void;
  /** norm (1) = sqrt(Σ over all tensors of Σ x²) */
  globalNorm(norm: Tensor, tensors: readonly Tensor[]): void;
  /**
   * One AdamW update of `param`, `m` and `v`, decoupled decay first (Loshchilov & Hutter 2019, algorithm 2).
   * `norm` (1) is the global gradient norm, for clipping; if it is not finite, nothing is changed.
   */
  adamw(param: Tensor, grad: Tensor, m: Tensor, v: Tensor, norm: Tensor, options: AdamWOptions): void;
}
