import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import type { Collective } from "../collective/collective.ts";
import { Exchange } from "./exchange.ts";
import { agreedStopReason, encodeStopReason, type StopReason } from "./stop-reason.ts";

/** The outcome of a step, of one rank or of the whole job. */
export interface StepReport {
  /** Mean over the sequences, in nats. */
  loss: number;
  stopReason?: StopReason;
  /** The reason why the step has to be discarded. */
  failure?: string;
}

/** How ranks keep their weights and decisions in agreement. */
export interface Synchronization {
  /** Whether ranks synchronize in every step: a step that one rank does not finish is then abandoned by all. */
  readonly everyStep: boolean;
  /** Called between a step's backward pass and its update. Resolves to the report of the whole job. */
  beforeUpdate(own: StepReport): Promise<StepReport>;
  /** Called after the update that completes `step` steps. Resolves to the reason why the job stops here, if any. */
  afterUpdate(step: number, report: StepReport): Promise<StopReason | undefined>;
}

/** For a single process. */
export const NO_SYNCHRONIZATION: Synchronization = {
  everyStep: true,
  beforeUpdate: async (own) => own,
  afterUpdate: async (_, { stopReason }) => stopReason,
};

/** Device tensors, read and written as one flat array on the host. */
export class FlatTensors {
  readonly size: number;
  readonly #tensors: Tensor[];

  constructor(
    readonly backend: Backend,
    tensors: Record<string, Tensor>,
  ) {
    this.#tensors = Object.values(tensors);
    this.size = this.#tensors.reduce((sum, { size }) => sum + size, 0);
  }

  async read(into: Float32Array): Promise<void> {
    let offset = 0;
    for (const tensor of this.#tensors) {
      into.set(await this.backend.read(tensor), offset);
      offset += tensor.size;
    }
  }

  write(from: Float32Array): void {
    let offset = 0;
    for (const tensor of this.#tensors) {
      this.backend.write(tensor, from.subarray(offset, offset + tensor.size));
      offset += tensor.size;
    }
  }
}

/** Sums the gradients over the ranks in every step; each rank then makes the same update. */
export class GradientSum implements Synchronization {
  readonly everyStep = true;
  readonly #gradients: Tensor[];
  readonly #flat: FlatTensors;
  readonly #norm: Tensor;
  readonly #exchange: Exchange;

  /** @param gradients of this rank's share of the loss: their sum over the ranks is the gradient of the whole loss */
  constructor(
    readonly backend: Backend,
    collective: Collective,
    gradients: Record<string, Tensor>,
  ) {
    this.#gradients = Object.values(gradients);
    this.#flat = new FlatTensors(backend, gradients);
    this.#norm = backend.alloc([1]);
    this.#exchange = new Exchange(collective, { values: this.#flat.size, numbers: 2 });
  }

  async beforeUpdate({ loss, stopReason }: StepReport): Promise<StepReport> {
    // Checked before the sum, which would hide the rank that a non-finite gradient comes from.
    this.backend.globalNorm(this.#norm, this.#gradients);
    const [norm] = await this.backend.read(this.#norm);
    if (!Number.isFinite(norm)) return { loss, failure: `the gradients' norm is ${norm}` };
    await this.#flat.read(this.#exchange.values);
    const reports = await this.#exchange.sumAndGather(loss, encodeStopReason(stopReason));
    this.#flat.write(this.#exchange.values);
    return {
      loss: reports.reduce((sum, [loss]) => sum + loss, 0) / reports.length,
      stopReason: agreedStopReason(reports.map(([, reason]) => reason)),
    };
  }

  async afterUpdate(_: number, { stopReason }: StepReport): Promise<StopReason | undefined> {
    return stopReason;
  }
}
