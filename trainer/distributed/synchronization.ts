/** What ranks tell each other, over the one operation that a {@link Collective} has. */
import { createHash } from "node:crypto";
import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { Collective } from "../collective/collective.ts";
import type { Stop } from "./stop-reason.ts";

/** What one rank, or the whole job, has to say of a step. */
export interface Report {
  /** Mean over its sequences, in nats. */
  loss: number;
  stop?: Stop;
  /** Why the step can't stand. */
  failure?: string;
}

/** How ranks that train side by side remain one run. */
export interface Coupling {
  /** Whether they meet in each step, so that a step that one of them doesn't finish is given up by all. */
  readonly everyStep: boolean;
  /** Between a step's backward and its update: what holds for the job. */
  beforeUpdate(own: Report): Promise<Report>;
  /** After the update that completes so many steps: whether the job stops there. */
  afterUpdate(step: number, report: Report): Promise<Stop | undefined>;
}

/** Of a process that is alone. */
export const UNCOUPLED: Coupling = {
  everyStep: true,
  beforeUpdate: async (own) => own,
  afterUpdate: async (_, { stop }) => stop,
};

/**
 * A sum over the ranks, and a message of some numbers from each rank to all of them.
 *
 * Messages travel as bytes, each a value of its own to which the other ranks add zeros: so they arrive to the last bit
 * on any wire, one of 8 significant bits as well.
 */
export class Exchange {
  /** What is summed. */
  readonly values: Float32Array;
  readonly #all: Float32Array;
  readonly #messages: Float32Array;

  constructor(
    readonly collective: Collective,
    { values, numbers }: { values: number; numbers: number },
  ) {
    this.#all = new Float32Array(values + collective.world * numbers * 8);
    this.values = this.#all.subarray(0, values);
    this.#messages = this.#all.subarray(values);
  }

  /** Replaces `values` by their sums. Resolves to every rank's numbers. */
  async run(...numbers: number[]): Promise<number[][]> {
    const { rank, world } = this.collective;
    const bytes = 8 * numbers.length;
    this.#messages.fill(0).set(new Uint8Array(Float64Array.from(numbers).buffer), rank * bytes);
    await this.collective.allReduce(this.#all);
    return Array.from({ length: world }, (_, from) => {
      const message = Uint8Array.from(this.#messages.subarray(from * bytes, (from + 1) * bytes));
      return [...new Float64Array(message.buffer)];
    });
  }
}

const STOPS = ["SIGINT", "SIGTERM", "minutes"] as const;

/** A stop as a number for {@link agreedStop}. */
export const stopNumber = (stop: Stop | undefined): number =>
  stop === undefined ? STOPS.length : STOPS.indexOf(stop);

/** One rank that wants to stop stops all. */
export const agreedStop = (numbers: number[]): Stop | undefined => STOPS[Math.min(...numbers)];

/** `values` of one rank on all, to the last bit. */
export async function broadcast(collective: Collective, values: Float32Array, from: number): Promise<void> {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const wire = new Float32Array(bytes.length);
  if (collective.rank === from) wire.set(bytes);
  await collective.allReduce(wire);
  bytes.set(wire);
}

/** Waits until all ranks are here. */
export async function meet(collective: Collective): Promise<void> {
  await collective.allReduce(new Float32Array(1));
}

/**
 * Compares what every rank has found for itself, as JSON.
 *
 * @throws ReflowError `usage` where it is not the same, after all ranks said it
 */
export async function mustAgree(collective: Collective, found: unknown, what: string): Promise<void> {
  const digest = createHash("sha256").update(JSON.stringify(found)).digest().readUInt32LE();
  const all = await new Exchange(collective, { values: 0, numbers: 1 }).run(digest);
  const other = all.findIndex(([theirs]) => theirs !== all[0][0]);
  if (other < 0) return;
  throw new ReflowError(
    "usage",
    `rank ${other} does not have the ${what} that rank 0 has`,
    "give all ranks the same flags, and folders that all of them share",
  );
}

/** Tensors of a device as one array on the host. */
export class Flat {
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
    let at = 0;
    for (const tensor of this.#tensors) {
      into.set(await this.backend.read(tensor), at);
      at += tensor.size;
    }
  }

  write(from: Float32Array): void {
    let at = 0;
    for (const tensor of this.#tensors) {
      this.backend.write(tensor, from.subarray(at, at + tensor.size));
      at += tensor.size;
    }
  }
}

/** Every step's gradients are summed over the ranks, each of which then makes the same update. */
export class GradientSum implements Coupling {
  readonly everyStep = true;
  readonly #gradients: Tensor[];
  readonly #flat: Flat;
  readonly #norm: Tensor;
  readonly #exchange: Exchange;

  /** @param gradients of a rank's part of the loss: the sum over the ranks is that of the whole */
  constructor(
    readonly backend: Backend,
    collective: Collective,
    gradients: Record<string, Tensor>,
  ) {
    this.#gradients = Object.values(gradients);
    this.#flat = new Flat(backend, gradients);
    this.#norm = backend.alloc([1]);
    this.#exchange = new Exchange(collective, { values: this.#flat.size, numbers: 2 });
  }

  async beforeUpdate({ loss, stop }: Report): Promise<Report> {
    // Looked at before they are summed: afterwards nobody could tell whose are at fault.
    this.backend.globalNorm(this.#norm, this.#gradients);
    const [norm] = await this.backend.read(this.#norm);
    if (!Number.isFinite(norm)) return { loss, failure: `the gradients' norm is ${norm}` };
    await this.#flat.read(this.#exchange.values);
    const reports = await this.#exchange.run(loss, stopNumber(stop));
    this.#flat.write(this.#exchange.values);
    return {
      loss: reports.reduce((sum, [loss]) => sum + loss, 0) / reports.length,
      stop: agreedStop(reports.map(([, stop]) => stop)),
    };
  }

  async afterUpdate(_: number, { stop }: Report): Promise<Stop | undefined> {
    return stop;
  }
}
