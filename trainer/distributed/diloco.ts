/**
 * Local steps: each rank updates weights of its own, and only every H steps do they meet, for one outer step. H times
 * less is sent. DiLoCo, Douillard et al. 2023 (arXiv 2311.08105), algorithm 1.
 */
import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { Parameters } from "../../runtime/transformer/parameters.ts";
import type { Collective } from "../collective/collective.ts";
import { agreedStop, type Coupling, Exchange, Flat, type Report, stopNumber } from "./synchronization.ts";
import type { Stop } from "./stop-reason.ts";

/** The paper's: section 3.1. */
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
  /** H. */
  localSteps: number;
  /** The run's last step, which an outer one follows in any case. */
  steps: number;
}

/** Ranks that train on their own and meet after every H steps, which a signal has to wait for. */
export class LocalSteps implements Coupling {
  readonly everyStep = false;
  /** u (P). With the weights after an outer step, which are θ, it is all that outer steps go on from. */
  readonly velocity: Float32Array;
  /** θ (P), unless the weights were written since. */
  readonly #weights: Float32Array;
  #knowsWeights = false;
  readonly #flat: Flat;
  readonly #exchange: Exchange;

  constructor(
    backend: Backend,
    collective: Collective,
    parameters: Parameters,
    readonly options: LocalStepsOptions,
  ) {
    this.#flat = new Flat(backend, parameters);
    this.#exchange = new Exchange(collective, { values: this.#flat.size, numbers: 1 });
    this.velocity = new Float32Array(this.#flat.size);
    this.#weights = new Float32Array(this.#flat.size);
  }

  /** To be called where weights have been started or restored, on all ranks the same. */
  forgetWeights(): void {
    this.#knowsWeights = false;
  }

  async beforeUpdate(own: Report): Promise<Report> {
    if (!this.#knowsWeights) await this.#flat.read(this.#weights);
    this.#knowsWeights = true;
    return own;
  }

  async afterUpdate(step: number, { stop }: Report): Promise<Stop | undefined> {
    const { localSteps, steps } = this.options;
    if (step % localSteps !== 0 && step !== steps) return undefined;
    const { values, collective } = this.#exchange;
    await this.#flat.read(values);
    for (let i = 0; i < values.length; i++) values[i] = this.#weights[i] - values[i];
    const stops = await this.#exchange.run(stopNumber(stop));
    outerStep(this.#weights, this.velocity, values, { world: collective.world, ...OUTER });
    this.#flat.write(this.#weights);
    return agreedStop(stops.map(([stop]) => stop));
  }
}
