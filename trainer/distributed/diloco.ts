/**
 * Local steps: each rank updates its own weights, and ranks synchronize only every H steps, with one outer step. This
 * sends 1/H of the data. DiLoCo, Douillard et al. 2023 (arXiv 2311.08105), algorithm 1.
 */
import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { Parameters } from "../../runtime/transformer/parameters.ts";
import type { Collective } from "../collective/collective.ts";
import { Exchange } from "./exchange.ts";
import { agreedStopReason, encodeStopReason, type StopReason } from "./stop-reason.ts";
import { FlatTensors, type StepReport, type Synchronization } from "./synchronization.ts";

/** The outer optimizer's settings of the paper, section 3.1. */
export const OUTER = { lr: 0.7, momentum: 0.9 } as const;

/**
 * One step of SGD with Nesterov momentum (Sutskever et al. 2013) on outer gradients:
 *
 *     Δ = Σ_r (θ − θ_r) / N;  u ← μ·u + Δ;  θ ← θ − lr·(Δ + μ·u)
 *
 * @param weights θ (P), overwritten
 * @param velocity u (P), overwritten
 * @param drift (P): Σ_r (θ − θ_r)
 */
export function outerStep(
  weights: Float32Array,
  velocity: Float32Array,
  drift: Float32Array,
  { world, lr, momentum }: { world: number; lr: number; momentum: number },
): void {
  for (let i = 0; i < weights.length; i++) {
    const delta = drift[i] / world;
    velocity[i] = momentum * velocity[i] + delta;
    weights[i] -= lr * (delta + momentum * velocity[i]);
  }
}

export interface LocalStepsOptions {
  /** H, the number of local steps per outer step. */
  localSteps: number;
  /** The run's last step, which is always followed by an outer step. */
  steps: number;
}

/** Synchronizes the ranks after every H local steps. A signal takes effect at the next outer step. */
export class LocalSteps implements Synchronization {
  readonly everyStep = false;
  /** u (P): together with the weights after an outer step, θ, it is the whole state of the outer optimizer. */
  readonly velocity: Float32Array;
  /** θ (P), unless the parameters have been written since. */
  readonly #weights: Float32Array;
  #knowsWeights = false;
  readonly #flat: FlatTensors;
  readonly #exchange: Exchange;

  constructor(
    backend: Backend,
    collective: Collective,
    parameters: Parameters,
    readonly options: LocalStepsOptions,
  ) {
    this.#flat = new FlatTensors(backend, parameters);
    this.#exchange = new Exchange(collective, { values: this.#flat.size, numbers: 1 });
    this.velocity = new Float32Array(this.#flat.size);
    this.#weights = new Float32Array(this.#flat.size);
  }

  /** Must be called after the parameters have been initialized or restored, to the same values on all ranks. */
  forgetWeights(): void {
    this.#knowsWeights = false;
  }

  async beforeUpdate(own: StepReport): Promise<StepReport> {
    if (!this.#knowsWeights) await this.#flat.read(this.#weights);
    this.#knowsWeights = true;
    return own;
  }

  async afterUpdate(step: number, { stopReason }: StepReport): Promise<StopReason | undefined> {
    const { localSteps, steps } = this.options;
    if (step % localSteps !== 0 && step !== steps) return undefined;
    const { values, collective } = this.#exchange;
    await this.#flat.read(values);
    for (let i = 0; i < values.length; i++) values[i] = this.#weights[i] - values[i];
    const reasons = await this.#exchange.sumAndGather(encodeStopReason(stopReason));
    outerStep(this.#weights, this.velocity, values, { world: collective.world, ...OUTER });
    this.#flat.write(this.#weights);
    return agreedStopReason(reasons.map(([reason]) => reason));
  }
}
