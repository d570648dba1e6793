import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { parameterSpecs } from "../../runtime/config/config.ts";
import { type Checkpoint, type CheckpointFiles, writeCheckpoint } from "../../runtime/formats/checkpoint.ts";
import type { TensorEntry } from "../../runtime/formats/safetensors.ts";
import type { TensorFile, TensorFileWriter } from "../../runtime/formats/tensor-file.ts";
import { AdamW } from "../../runtime/transformer/optimizer.ts";
import { allocateParameters, initialize, type Parameters } from "../../runtime/transformer/parameters.ts";
import { TrainableModel } from "../../runtime/transformer/trainable-model.ts";
import { ALONE, type Collective } from "../collective/collective.ts";
import type { Data } from "../data/load.ts";
import { countWindows, readBatch, readWindow, Sampler } from "../data/sampler.ts";
import { LocalSteps } from "../distributed/diloco.ts";
import {
  agreedStop,
  broadcast,
  type Coupling,
  Exchange,
  GradientSum,
  stopNumber,
  UNCOUPLED,
} from "../distributed/synchronization.ts";
import { learningRate } from "../settings/schedule.ts";
import type { Settings } from "../settings/settings.ts";
import { Interrupted, isSignal, type Pause, type Stop } from "../distributed/stop-reason.ts";

export interface StepResult {
  /** Mean loss of the step's tokens, in nats, before the update. */
  loss: number;
  lr: number;
  /** Global norm of the gradients, before clipping. */
  gradNorm: number;
  /** Why the step can't stand, as a sentence's beginning: something is not finite. */
  failure?: string;
  /** Why the run ends after this step. */
  stop?: Stop;
}

/** Where a run is: everything beside weights and moments that its next step depends on. */
interface Position {
  /** Steps done. */
  step: number;
  /** Steps' worth of batches passed over after a loss or gradient that was not finite. */
  skipped: number;
}

const WEIGHTS = "model.safetensors";
/** Of the optimizer, or of a rank's where each has its own. */
const moments = (rank: number) => (rank === 0 ? "optimizer.safetensors" : `optimizer-${rank}.safetensors`);
/** Of the outer steps. */
const VELOCITY = "outer.safetensors";

/** A model in training: weights, optimizer and place in the data, that step, evaluate, save and restore. */
export class Training {
  readonly parameters: Parameters;
  readonly tokensPerStep: number;
  #position: Position = { step: 0, skipped: 0 };
  readonly #model: TrainableModel;
  readonly #optimizer: AdamW;
  readonly #weightNorm: Tensor;
  readonly #coupling: Coupling;
  readonly #localSteps?: LocalSteps;
  readonly #sampler: Sampler;
  readonly #ids: Int32Array;
  readonly #targets: Int32Array;

  constructor(
    readonly backend: Backend,
    readonly settings: Settings,
    readonly data: Data,
    readonly collective: Collective = ALONE,
  ) {
    const { model, trajectory } = settings;
    const { batch, accumulate, order, seed, localSteps, steps } = trajectory;
    const length = model.context;
    this.tokensPerStep = batch * accumulate * collective.world * length;
    this.#ids = new Int32Array(batch * length);
    this.#targets = new Int32Array(batch * length);
    this.#sampler = new Sampler({ windows: countWindows(data.train, length), order, seed });
    this.parameters = allocateParameters(backend, model);
    this.#model = new TrainableModel(backend, model, this.parameters, { batch, length });
    this.#optimizer = new AdamW(backend, model, this.parameters, this.#model.gradients);
    this.#weightNorm = backend.alloc([1]);
    if (localSteps) {
      this.#localSteps = new LocalSteps(backend, collective, this.parameters, { localSteps, steps });
    }
    const isAlone = collective.world === 1;
    this.#coupling =
      this.#localSteps ?? (isAlone ? UNCOUPLED : new GradientSum(backend, collective, this.#model.gradients));
  }

  get step(): number {
    return this.#position.step;
  }

  /**
   * One optimizer step over batch × accumulate × world sequences, of which each rank takes accumulate micro-batches that
   * follow one another. Where the loss or the gradients' norm isn't finite, there is no update. Nor does `step` advance
   * where the update made weights that are not finite. After any of these the caller has to {@link restore}.
   *
   * @param pause is called after every micro-batch
   * @throws Interrupted where a rank got a signal: nothing has changed but the gradients
   */
  async train(pause: Pause): Promise<StepResult> {
    const { trajectory, model } = this.settings;
    const { batch, accumulate, weightDecay, gradClip: clip } = trajectory;
    const { rank, world } = this.collective;
    const { step, skipped } = this.#position;
    const lr = learningRate(step, trajectory);
    // With local steps a rank's loss is a mean of its own.
    const parts = this.#coupling.everyStep ? world : 1;
    let loss = 0;
    let stop: Stop | undefined;
    for (let micro = 0; micro < accumulate; micro++) {
      const first = (((step + skipped) * world + rank) * accumulate + micro) * batch;
      readBatch(this.data.train, this.#sampler, first, this.#ids, this.#targets, model.context);
      this.#model.forwardBackward(this.#ids, this.#targets, { scale: 1 / (accumulate * parts) });
      loss += (await this.#model.loss()) / accumulate;
      stop = await pause();
      if (isSignal(stop) && this.#coupling.everyStep) break;
    }
    const fail = (failure: string, gradNorm = Number.NaN) => ({ loss, lr, gradNorm, failure });
    if (!Number.isFinite(loss)) return fail(`the loss is ${loss}`);
    const report = await this.#coupling.beforeUpdate({ loss, stop });
    loss = report.loss;
    if (report.failure) return fail(report.failure);
    if (isSignal(report.stop) && this.#coupling.everyStep) throw new Interrupted(report.stop);
    this.#optimizer.step({ lr, step: step + 1, weightDecay, clip });
    const gradNorm = await this.#optimizer.gradientNorm();
    if (!Number.isFinite(gradNorm)) return fail(`the gradients' norm is ${gradNorm}`, gradNorm);
    this.backend.globalNorm(this.#weightNorm, Object.values(this.parameters));
    const [weightNorm] = await this.backend.read(this.#weightNorm);
    if (!Number.isFinite(weightNorm)) return fail(`the weights' norm became ${weightNorm}`, gradNorm);
    const ends = await this.#coupling.afterUpdate(step + 1, report);
    this.#position = { step: step + 1, skipped };
    return { loss, lr, gradNorm, stop: ends };
  }

  /**
   * Mean loss, in nats a token, on windows of the validation tokens: all of them, or so many, evenly spaced. The ranks
   * share the batches.
   *
   * @param pause is called after every batch
   * @throws Interrupted where a rank got a signal
   */
  async evaluate(most: number, pause: Pause): Promise<number> {
    const { val } = this.data;
    const { rank, world } = this.collective;
    const { context: length } = this.settings.model;
    const windows = countWindows(val, length);
    const chosen = Math.min(windows, most);
    const batch = this.#ids.length / length;
    let sum = 0;
    let stop: Stop | undefined;
    for (let from = rank * batch; from < chosen && !isSignal(stop); from += world * batch) {
      const rows = Math.min(batch, chosen - from);
      for (let b = 0; b < batch; b++) {
        // A last batch that isn't full repeats a window, whose loss isn't counted.
        const index = from + Math.min(b, rows - 1);
        readWindow(val, Math.floor((index * windows) / chosen), b, this.#ids, this.#targets, length);
      }
      await this.#model.evaluate(this.#ids, this.#targets);
      for (const loss of await this.backend.read(this.#model.losses, 0, rows * length)) sum += loss;
      stop = await pause();
    }
    const exchange = new Exchange(this.collective, { values: 0, numbers: 2 });
    const reports = await exchange.run(sum, stopNumber(stop));
    stop = agreedStop(reports.map(([, stop]) => stop));
    if (isSignal(stop)) throw new Interrupted(stop);
    return reports.reduce((total, [sum]) => total + sum, 0) / (chosen * length);
  }

  /** Fresh weights, or those of a checkpoint, at step 0. */
  start(init?: Checkpoint): void {
    const { model, trajectory } = this.settings;
    if (init) readParameters(this.backend, init.tensors, "", this.parameters);
    else initialize(this.backend, model, trajectory, this.parameters);
    for (const moments of [this.#optimizer.m, this.#optimizer.v]) {
      for (const tensor of Object.values(moments)) this.backend.fill(tensor, 0);
    }
    this.#localSteps?.velocity.fill(0);
    this.#begin({ step: 0, skipped: 0 });
  }

  /** Everything a checkpoint holds. @throws ReflowError `checkpoint` where it can't be resumed from */
  restore(checkpoint: Checkpoint): void {
    const saved = readTrainerJson(checkpoint);
    if (saved.trainTokens !== this.data.train.length) {
      throw new ReflowError(
        "data",
        `the run was trained on ${saved.trainTokens} tokens, the data now has ${this.data.train.length}`,
        "resume with the data it began with, or start another run with --init",
      );
    }
    readParameters(this.backend, checkpoint.tensors, "", this.parameters);
    const own = checkpoint.openTensors(moments(this.#localSteps ? this.collective.rank : 0));
    try {
      readParameters(this.backend, own, "m.", this.#optimizer.m);
      readParameters(this.backend, own, "v.", this.#optimizer.v);
    } finally {
      own.close();
    }
    if (this.#localSteps) this.#readVelocity(checkpoint, this.#localSteps.velocity);
    this.#begin(saved.position);
  }

  #readVelocity(checkpoint: Checkpoint, velocity: Float32Array): void {
    const file = checkpoint.openTensors(VELOCITY);
    try {
      let at = 0;
      for (const [name, { size }] of Object.entries(this.parameters)) {
        file.readF32(name, (chunk, offset) => velocity.set(chunk, at + offset));
        at += size;
      }
    } finally {
      file.close();
    }
  }

  #begin(position: Position): void {
    this.#model.zeroGradients();
    this.#localSteps?.forgetWeights();
    this.#position = position;
  }

  /** After {@link restore}: passes over the batches up to and with the one that failed `failedStep`. */
  skipPast(failedStep: number): void {
    this.#position.skipped += failedStep - this.#position.step + 1;
  }

  /**
   * Writes a checkpoint that {@link restore} continues from bit for bit. It holds no times and no paths but the data's.
   * All ranks call it, one writes.
   */
  async save(folder: string): Promise<void> {
    if (this.collective.rank === 0) await writeCheckpoint(folder, (files) => this.#writeFiles(files));
    else await this.#writeOtherMoments();
  }

  async #writeFiles(files: CheckpointFiles): Promise<void> {
    const { preset, model, trajectory } = this.settings;
    files.json("config.json", model);
    if (this.data.tokenizer) files.json("tokenizer.json", this.data.tokenizer.toJSON());
    const saved: TrainerJson = {
      position: this.#position,
      trainTokens: this.data.train.length,
      preset,
      trajectory,
    };
    files.json("trainer.json", saved);
    await this.#write(files.tensors(WEIGHTS, this.#entries("")), { "": this.parameters });
    const { m, v } = this.#optimizer;
    await this.#write(files.tensors(moments(0), this.#entries("m.", "v.")), { "m.": m, "v.": v });
    await this.#writeOtherMoments(files);
    if (!this.#localSteps) return;
    const velocity = files.tensors(VELOCITY, this.#entries(""));
    let at = 0;
    for (const [name, { size }] of Object.entries(this.parameters)) {
      velocity.write(name, this.#localSteps.velocity.subarray(at, at + size));
      at += size;
    }
  }

  /** With local steps each rank's optimizer has moments of its own, which it sends to rank 0. */
  async #writeOtherMoments(files?: CheckpointFiles): Promise<void> {
    const { m, v } = this.#optimizer;
    for (let rank = 1; this.#localSteps && rank < this.collective.world; rank++) {
      const file = files?.tensors(moments(rank), this.#entries("m.", "v."));
      await this.#write(file, { "m.": m, "v.": v }, rank);
    }
  }

  #entries(...prefixes: string[]): TensorEntry[] {
    const specs = parameterSpecs(this.settings.model);
    return prefixes.flatMap((prefix) =>
      specs.map(({ name, shape }) => ({ name: prefix + name, shape, dtype: "F32" as const })),
    );
  }

  /** @param from the rank whose values are written, on rank 0; others than 0 send them there */
  async #write(
    file: TensorFileWriter | undefined,
    groups: Record<string, Parameters>,
    from = 0,
  ): Promise<void> {
    const { rank } = this.collective;
    for (const [prefix, parameters] of Object.entries(groups)) {
      for (const [name, tensor] of Object.entries(parameters)) {
        for (let offset = 0; offset < tensor.size; offset += CHUNK) {
          const length = Math.min(CHUNK, tensor.size - offset);
          const isOwn = rank === from;
          const chunk = isOwn ? await this.backend.read(tensor, offset, length) : new Float32Array(length);
          if (from > 0) await broadcast(this.collective, chunk as Float32Array, from);
          file?.write(prefix + name, chunk as Float32Array);
        }
      }
    }
  }
}

/** Values copied to the host at a time while saving. */
const CHUNK = 2 ** 20;

function readParameters(backend: Backend, file: TensorFile, prefix: string, parameters: Parameters): void {
  for (const [name, tensor] of Object.entries(parameters)) {
    file.readF32(prefix + name, (chunk, offset) => backend.write(tensor, chunk, offset));
  }
}

interface TrainerJson {
  position: Position;
  trainTokens: number;
  preset: string;
  trajectory: Settings["trajectory"];
}

/** @throws ReflowError `checkpoint` where the folder has no `trainer.json` */
export function readTrainerJson(checkpoint: Checkpoint): TrainerJson {
  const saved = checkpoint.readJson("trainer.json") as TrainerJson | undefined;
  // Checkpoints of before there were ranks don't say how many.
  if (saved) return { ...saved, trajectory: { ...saved.trajectory, world: saved.trajectory.world ?? 1 } };
  throw new ReflowError(
    "checkpoint",
    `${checkpoint.folder} has no trainer.json: it holds weights only`,
    "start a run from them with --init",
  );
}
