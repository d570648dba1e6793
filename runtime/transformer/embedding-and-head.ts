/**
 * The input embedding, and the head with its loss. Both use the same (tied) table.
 *
 * Factored: the table is R (V,S), used through B (S,d): x = r·B at the input, z = n·Bᵀ and logits = z·Rᵀ at the output.
 * Unfactored: the table is E (V,d), and z is n itself.
 */
import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";
import { FINAL_NORM } from "../config/parameter-specs.ts";
import type { Alloc, BatchShape } from "./block.ts";
import { type Layer, layer, linear, linearBackward, norm, normBackward, statsShape } from "./layers.ts";
import type { Parameters } from "./parameters.ts";

export type TableActivations = ReturnType<typeof tableActivations>;

export function tableActivations(config: ModelConfig, shape: BatchShape, alloc: Alloc) {
  const { batch, length, lossRows = 128 } = shape;
  const { vocab_size: V, d_model: d, n_signals: S = 0 } = config;
  const architecture = architectureOf(config);
  const M = batch * length;
  const { factored } = architecture;
  return {
    ids: alloc([M], "i32"),
    targets: alloc([M], "i32"),
    /** TopK(relu(R)), (V,S) */
    topk: architecture.topk ? alloc([V, S]) : undefined,
    /** Looked-up recipes, kept for the gradient of the basis */
    recipes: factored ? alloc([M, S]) : undefined,
    /** The residual stream that enters the final norm */
    x: alloc([M, d]),
    finalNorm: alloc([M, d]),
    finalStats: alloc(statsShape(architecture.norm, M)),
    signals: factored ? alloc([M, S]) : undefined,
    dSignals: factored ? alloc([M, S]) : undefined,
    /** One chunk's logits, then their gradient. The full logits matrix, by far the largest tensor, is never materialised. */
    logits: alloc([chunkRows(M, V, lossRows), V]),
    losses: alloc([M]),
  };
}

/**
 * Token rows per chunk of the head: at most 8 MiB of logits, but no fewer than `least` rows, because every chunk reads and
 * writes the whole gradient of the table.
 */
function chunkRows(M: number, V: number, least: number): number {
  return Math.min(M, Math.max(least, Math.floor(2 ** 21 / V)));
}

/** The tensors of one chunk of m token rows, as views. */
interface Chunk {
  rows: number;
  logits: Tensor; // (m,V)
  z: Tensor; // (m,S), or (m,d) unfactored
  dz: Tensor; // as z
  targets: Tensor; // (m)
  losses: Tensor; // (m)
}

export interface TablesOptions {
  backend: Backend;
  config: ModelConfig;
  shape: BatchShape;
  parameters: Parameters;
  gradients: Parameters;
  activations: TableActivations;
  /** The residual stream that enters the first block, (M,d) */
  input: Tensor;
  /** Gradients of the residual stream and of a branch, shared with the blocks, both (M,d) */
  scratch: { dx: Tensor; dBranch: Tensor };
}

function chunksOf({ backend, activations: a, scratch }: TablesOptions): Chunk[] {
  const [M] = a.losses.shape;
  const [most, V] = a.logits.shape;
  const z = a.signals ?? a.finalNorm;
  const dz = a.dSignals ?? scratch.dBranch;
  const width = z.shape[1];
  const chunks: Chunk[] = [];
  for (let from = 0; from < M; from += most) {
    const rows = Math.min(most, M - from);
    chunks.push({
      rows,
      logits: backend.view(a.logits, [rows, V]),
      z: backend.view(z, [rows, width], from * width),
      dz: backend.view(dz, [rows, width], from * width),
      targets: backend.view(a.targets, [rows], from),
      losses: backend.view(a.losses, [rows], from),
    });
  }
  return chunks;
}

export class Tables {
  readonly #options: TablesOptions;
  /** (V,S) or (V,d), as the model uses it */
  readonly #table: Tensor;
  readonly #recipe: Tensor;
  readonly #dTable: Tensor;
  /** B as a linear layer's weight: [out, in] = (S,d) */
  readonly #basis?: Layer;
  /** Learned positions (T,d), and the rows they are added to, (B,T,d) */
  readonly #position?: Record<"value" | "gradient" | "x" | "dx", Tensor>;
  readonly #finalNorm: Layer;
  readonly #chunks: Chunk[];

  constructor(options: TablesOptions) {
    const { backend, config, parameters, gradients, activations, input, scratch } = options;
    const name = architectureOf(config).factored ? "recipe" : "embedding";
    this.#options = options;
    this.#recipe = parameters[name];
    this.#table = activations.topk ?? parameters[name];
    this.#dTable = gradients[name];
    this.#finalNorm = layer(parameters, gradients, FINAL_NORM);
    this.#chunks = chunksOf(options);
    if (parameters.basis) this.#basis = { weight: parameters.basis, dWeight: gradients.basis };
    if (parameters.position) {
      const { batch, length } = options.shape;
      this.#position = {
        value: backend.view(parameters.position, [length, config.d_model]),
        gradient: backend.view(gradients.position, [length, config.d_model]),
        x: backend.view(input, [batch, length, config.d_model]),
        dx: backend.view(scratch.dx, [batch, length, config.d_model]),
      };
    }
  }

  /** input (M,d) = R[ids] · B, or E[ids] + positions */
  embed(): void {
    const { backend, activations: a, config, input: x } = this.#options;
    if (a.topk) backend.topk(a.topk, this.#recipe, config.top_k!); // (V,S)
    if (this.#basis && a.recipes) {
      backend.gather(a.recipes, this.#table, a.ids); // (M,S)
      backend.matmul(x, a.recipes, this.#basis.weight); // (M,d)
    } else {
      backend.gather(x, this.#table, a.ids); // (M,d)
    }
    if (this.#position) backend.addBroadcast(this.#position.x, this.#position.value); // (B,T,d) + (T,d)
  }

  /** Reads scratch.dx (M,d). The last step of a backward pass: it completes the table's gradient. */
  embedBackward(): void {
    const { backend, activations: a } = this.#options;
    const { dx } = this.#options.scratch;
    if (this.#position) backend.sumBroadcast(this.#position.gradient, this.#position.dx);
    if (this.#basis && a.recipes && a.dSignals) {
      const dRecipes = a.dSignals; // (M,S), free again by now
      backend.matmul(dRecipes, dx, this.#basis.weight, { transB: true });
      backend.matmul(this.#basis.dWeight, a.recipes, dx, { transA: true, accumulate: true }); // (S,d)
      backend.scatterAdd(this.#dTable, a.ids, dRecipes); // (V,S)
    } else {
      backend.scatterAdd(this.#dTable, a.ids, dx); // (V,d)
    }
    // Both uses have added the gradient of TopK(R). The gradient of R equals it where a value was kept and is zero
    // elsewhere; masking again what earlier micro-batches accumulated changes nothing.
    if (a.topk) backend.topkBackward(this.#dTable, this.#dTable, a.topk);
  }

  /** z (M,S) = norm(x) · Bᵀ, from which each chunk's logits follow */
  readSignals(): void {
    const { backend, activations: a } = this.#options;
    norm(backend, a.finalNorm, a.finalStats, a.x, this.#finalNorm); // (M,d)
    if (this.#basis && a.signals) linear(backend, a.signals, a.finalNorm, this.#basis); // (M,S)
  }

  /** losses (M); unless scale is 0, also dz (M,S) and the table's gradient, both times scale */
  crossEntropy(scale: number): void {
    const { backend } = this.#options;
    for (const { logits, z, dz, targets, losses } of this.#chunks) {
      backend.matmul(logits, z, this.#table, { transB: true }); // (m,V)
      backend.crossEntropy(losses, logits, targets, scale);
      if (scale === 0) continue;
      const dLogits = logits; // (m,V)
      backend.matmul(dz, dLogits, this.#table); // (m,S)
      backend.matmul(this.#dTable, dLogits, z, { transA: true, accumulate: true }); // (V,S)
    }
  }

  /** scratch.dx (M,d) = the gradient of the residual stream that enters the final norm */
  readSignalsBackward(): void {
    const { backend, activations: a } = this.#options;
    const { dx, dBranch } = this.#options.scratch;
    if (this.#basis && a.dSignals) linearBackward(backend, dBranch, a.dSignals, a.finalNorm, this.#basis);
    backend.fill(dx, 0);
    normBackward(backend, dx, dBranch, a.x, a.finalStats, this.#finalNorm); // (M,d)
  }

  /** All logits (M,V) of the last forward pass, on the host: for small models. */
  async logits(): Promise<Float32Array> {
    const { backend, activations: a } = this.#options;
    const [, V] = a.logits.shape;
    const all = new Float32Array(a.losses.size * V);
    let row = 0;
    for (const chunk of this.#chunks) {
      backend.matmul(chunk.logits, chunk.z, this.#table, { transB: true });
      all.set((await backend.read(chunk.logits)) as Float32Array, row * V);
      row += chunk.rows;
    }
    return all;
  }
}
