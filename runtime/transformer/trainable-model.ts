import type { Backend, Tensor } from "../backend/contract/backend.ts";
import { ReflowError } from "../common/errors.ts";
import { architectureOf } from "../config/architecture.ts";
import type { ModelConfig } from "../config/config.ts";
import { parameterCount } from "../config/parameter-specs.ts";
import {
  type Alloc,
  type BatchShape,
  type BlockActivations,
  type BlockContext,
  type BlockLayers,
  blockActivations,
  blockBackward,
  blockForward,
  blockLayers,
  blockScratch,
} from "./block.ts";
import { type TableActivations, Tables, tableActivations } from "./embedding-and-head.ts";
import { allocateParameters, freeParameters, type Parameters } from "./parameters.ts";
import { ropeTable } from "./rope.ts";

/** The memory that a forward and backward pass over (B,T) needs besides parameters and gradients. */
function allocateActivations(config: ModelConfig, shape: BatchShape, alloc: Alloc) {
  const { headDim, position } = architectureOf(config);
  return {
    ropeTable: position === "rope" ? alloc([config.context, headDim]) : undefined,
    blocks: Array.from({ length: config.n_layers }, () => blockActivations(config, shape, alloc)),
    tables: tableActivations(config, shape, alloc),
    scratch: blockScratch(config, shape, alloc),
  };
}

/** Bytes of a {@link TrainableModel}'s activations and their gradients, computed by the code that allocates them. */
export function activationBytes(config: ModelConfig, shape: BatchShape): number {
  let bytes = 0;
  allocateActivations(config, shape, (dimensions, dtype = "f32") => {
    const size = dimensions.reduce((a, b) => a * b, 1);
    bytes += 4 * size;
    return { dtype, shape: dimensions, size };
  });
  return bytes;
}

/** Bytes that training allocates: 16 per parameter (weights, gradients and two moments), and activations. */
export function trainingBytes(config: ModelConfig, shape: BatchShape): number {
  return 16 * parameterCount(config) + activationBytes(config, shape);
}

/**
 * A model's forward and backward pass over batches of B sequences of T tokens. All memory is allocated once, here.
 *
 * @example
 * const model = new TrainableModel(backend, config, parameters, { batch: 8, length: 256 });
 * model.forwardBackward(ids, targets); // gradients += d loss / d parameters
 * console.log(await model.loss());
 */
export class TrainableModel {
  readonly gradients: Parameters;
  /** (M): the loss of each token in the last forward pass, in nats. */
  readonly losses: Tensor;
  readonly #owned: Tensor[] = [];
  readonly #blocks: { layers: BlockLayers; activations: BlockActivations }[];
  readonly #context: BlockContext;
  readonly #ends: TableActivations;
  readonly #tables: Tables;

  constructor(
    readonly backend: Backend,
    readonly config: ModelConfig,
    readonly parameters: Parameters,
    readonly shape: BatchShape,
  ) {
    const { n_heads: heads, n_kv_heads: kvHeads } = config;
    this.gradients = allocateParameters(backend, config);
    const all = allocateActivations(config, { ...shape, lossRows: backend.lossRows }, (dimensions, dtype) => {
      const tensor = backend.alloc(dimensions, dtype);
      this.#owned.push(tensor);
      return tensor;
    });
    if (all.ropeTable) backend.write(all.ropeTable, ropeTable(config));
    this.#context = {
      backend,
      shape: { ...shape, heads, kvHeads, headDim: architectureOf(config).headDim },
      ropeTable: all.ropeTable,
      scratch: all.scratch,
    };
    this.#blocks = all.blocks.map((activations, l) => ({
      layers: blockLayers(config, parameters, this.gradients, l),
      activations,
    }));
    this.#ends = all.tables;
    this.#tables = new Tables({
      backend,
      config,
      shape,
      parameters,
      gradients: this.gradients,
      activations: all.tables,
      input: this.hidden(0),
      scratch: all.scratch,
    });
    this.losses = all.tables.losses;
  }

  /**
   * Adds the gradient of scale · (mean loss) to `gradients`. With N micro-batches to a step, scale is 1/N.
   *
   * @param ids (B·T)
   * @param targets (B·T): the token that follows each id
   * @throws ReflowError `data` for ids outside the vocabulary
   */
  forwardBackward(ids: Int32Array, targets: Int32Array, { scale = 1 } = {}): void {
    this.#forward(ids, targets);
    this.#tables.crossEntropy(scale / ids.length);
    this.#tables.readSignalsBackward();
    for (const { layers, activations } of this.#blocks.toReversed()) {
      blockBackward(this.#context, layers, activations);
    }
    this.#tables.embedBackward();
  }

  /** The mean loss in nats, without a backward pass. */
  async evaluate(ids: Int32Array, targets: Int32Array): Promise<number> {
    this.#forward(ids, targets);
    this.#tables.crossEntropy(0);
    return this.loss();
  }

  #forward(ids: Int32Array, targets: Int32Array): void {
    this.#write(this.#ends.ids, ids, "ids");
    this.#write(this.#ends.targets, targets, "targets");
    this.#tables.embed();
    this.#blocks.forEach(({ layers, activations }, l) => {
      blockForward(this.#context, layers, activations, this.hidden(l + 1));
    });
    this.#tables.readSignals();
  }

  #write(tensor: Tensor, ids: Int32Array, name: string): void {
    const { vocab_size } = this.config;
    if (ids.length !== tensor.size) throw new RangeError(`${name}: ${ids.length} of ${tensor.size} tokens`);
    for (const id of ids) {
      if (id >= 0 && id < vocab_size) continue;
      throw new ReflowError(
        "data",
        `${name}: token ${id} is outside the vocabulary of ${vocab_size}`,
        "use data that was prepared with this model's tokenizer",
      );
    }
    this.backend.write(tensor, ids);
  }

  /** The mean loss of the last forward pass in nats, summed in float64. */
  async loss(): Promise<number> {
    let sum = 0;
    for (const loss of await this.backend.read(this.losses)) sum += loss;
    return sum / this.losses.size;
  }

  /** (M,d): the residual stream that enters block l, or the final norm if l is the number of blocks. */
  hidden(l: number): Tensor {
    return l < this.#blocks.length ? this.#blocks[l].activations.x : this.#ends.x;
  }

  /** All logits (M,V) of the last forward pass, on the host: for tests and small models. */
  logits(): Promise<Float32Array> {
    return this.#tables.logits();
  }

  zeroGradients(): void {
    for (const gradient of Object.values(this.gradients)) this.backend.fill(gradient, 0);
  }

  /** Frees the memory that the constructor allocated; parameters belong to the caller. */
  dispose(): void {
    for (const tensor of this.#owned) this.backend.free(tensor);
    freeParameters(this.backend, this.gradients);
  }
}
