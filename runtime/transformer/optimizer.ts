import type { Backend, Tensor } from "../backend/contract/backend.ts";
import type { ModelConfig } from "../config/config.ts";
import { allocateParameters, freeParameters, type Parameters } from "./parameters.ts";

export interface StepOptions {
  lr: number;
  /** The step number, from 1. */
  step: number;
  /** Applied to tensors of two or more dimensions, but not to norms and biases. */
  weightDecay?: number;
  /** Global-norm clipping; 0 disables it. */
  clip?: number;
  beta1?: number;
  beta2?: number;
  eps?: number;
}

/** AdamW (Loshchilov & Hutter 2019) over all parameters of a model. */
export class AdamW {
  /** First and second moments by parameter: the optimizer state of a checkpoint. */
  readonly m: Parameters;
  readonly v: Parameters;
  readonly #norm: Tensor;

  constructor(
    readonly backend: Backend,
    config: ModelConfig,
    readonly parameters: Parameters,
    readonly gradients: Parameters,
  ) {
    this.m = allocateParameters(backend, config);
    this.v = allocateParameters(backend, config);
    this.#norm = backend.alloc([1]);
  }

  /** One update, after which the gradients are zero. If their norm is not finite, nothing else changes. */
  step(options: StepOptions): void {
    const { lr, step, weightDecay = 0.1, clip = 1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8 } = options;
    this.backend.globalNorm(this.#norm, Object.values(this.gradients));
    for (const [name, parameter] of Object.entries(this.parameters)) {
      this.backend.adamw(parameter, this.gradients[name], this.m[name], this.v[name], this.#norm, {
        lr,
        step,
        clip,
        beta1,
        beta2,
        eps,
        weightDecay: parameter.shape.length >= 2 ? weightDecay : 0,
      });
      this.backend.fill(this.gradients[name], 0);
    }
  }

  /** The global norm of the last step's gradients, before clipping. */
  async gradientNorm(): Promise<number> {
    return (await this.backend.read(this.#norm))[0];
  }

  dispose(): void {
    freeParameters(this.backend, this.m);
    freeParameters(this.backend, this.v);
    this.backend.free(this.#norm);
  }
}
