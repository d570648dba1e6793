import type { Backend, Tensor } from "../../runtime/backend/contract/backend.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { parameterSpecs } from "../../runtime/config/parameter-specs.ts";
import { type Checkpoint, type CheckpointFiles, writeCheckpoint } from "../../runtime/formats/checkpoint.ts";
import type { TensorEntry } from "../../runtime/formats/safetensors.ts";
import type { TensorFile, TensorFileWriter } from "../../runtime/formats/tensor-file.ts";
import { AdamW } from "../../runtime/transformer/optimizer.ts";
import { allocateParameters, initialize, type Parameters } from "../../runtime/transformer/parameters.ts";
import { TrainableModel } from "../../runtime/transformer/trainable-model.ts";
import { type Collective, SINGLE_PROCESS } from "../collective/collective.ts";
import type { Data } from "../data/load.ts";
import { countWindows, readBatch, readWindow, Sampler } from "../data/sampler.ts";
import { LocalSteps } from "../distributed/diloco.ts";
import { broadcast, Exchange } from "../distributed/exchange.ts";
import {
  agreedStopReason,
  encodeStopReason,
  Interrupted,
  isSignal,
  type PollStop,
  type StopReason,
} from "../distributed/stop-reason.ts";
import { GradientSum, NO_SYNCHRONIZATION, type Synchronization } from "../distributed/synchronization.ts";
import { learningRate } from "../settings/schedule.ts";
import type { Settings } from "../settings/settings.ts";

export interface StepResult {
  /** Mean loss of the step's tokens, in nats, before the update. */
  loss: number;
  lr: number;
  /** Global norm of the gradients, before clipping. */
  gradNorm: number;
  /** The reason why the step has to be discarded: which quantity is not finite. */
  failure?: string;
  /** The reason why the run ends after this step. */
  stopReason?: StopReason;
}

/** A position in a run: everything besides weights and moments that its next step depends on. */
interface Position {
  /** Completed steps. */
  step: number;
  /** Batches skipped, in steps, after a loss or gradient that was not finite. */
  skipped: number;
}

const WEIGHTS_FILE = "model.safetensors";
/** The optimizer's moments; with local steps each rank has its own file. */
const momentsFile = (rank: number) =>
  rank === 0 ? "optimizer.safetensors" : `optimizer-${rank}.safetensors`;
/** The velocity of the outer optimizer. */
const VELOCITY_FILE = "outer.safetensors";

/** The state of a training run (weights, optimizer and position in the data), with its operations: step, evaluate, save and restore. */
export class Training {
  readonly parameters: Parameters;
  readonly tokensPerStep: number;
  #position: Position = { step: 0, skipped: 0 };
  readonly #model: TrainableModel;
  readonly #optimizer: AdamW;
  readonly #weightNorm: Tensor;
  readonly #synchronization: Synchronization;
  readonly #localSteps?: LocalSteps;
  readonly #sampler: Sampler;
  readonly #ids: Int32Array;
  readonly #targets: Int32Array;

  constructor(
    readonly backend: Backend,
    readonly settings: Settings,
    readonly data: Data,
    readonly collective: Collective = SINGLE_PROCESS,
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
    this.#synchronization =
      this.#localSteps ??
      (isAlone ? NO_SYNCHRONIZATION : new GradientSum(backend, collective, this.#model.gradients));
  }

  get step(): number {
    return this.#position.step;
  }

  /**
   * One optimizer step over batch × accumulate × world sequences. Each rank takes `accumulate` consecutive micro-batches.
   * If the loss or the gradients' norm is not finite, the weights are not updated. If the update makes weights that are
   * not finite, `step` does not advance. In both cases the result has a `failure`, and the caller has to {@link restore}.
   *
   * @param pollStop is called after every micro-batch
   * @throws Interrupted if a rank received a signal; only the gradients have changed
   */
  async train(pollStop: PollStop): Promise<StepResult> {
    const { trajectory, model } = this.settings;
    const { batch, accumulate, weightDecay, gradClip: clip } = trajectory;
    const { rank, world } = this.collective;
    const { step, skipped } = this.#position;
    const lr = learningRate(step, trajectory);
    // With local steps a rank's loss is the mean over its own sequences only.
    const lossRanks = this.#synchronization.everyStep ? world : 1;
    let loss = 0;
    let stopReason: StopReason | undefined;
    for (let micro = 0; micro < accumulate; micro++) {
      const first = (((step + skipped) * world + rank) * accumulate + micro) * batch;
      readBatch(this.data.train, this.#sampler, first, this.#ids, this.#targets, model.context);
      this.#model.forwardBackward(this.#ids, this.#targets, { scale: 1 / (accumulate * lossRanks) });
      loss += (await this.#model.loss()) / accumulate;
      stopReason = await pollStop();
      if (isSignal(stopReason) && this.#synchronization.everyStep) break;
    }
    const fail = (failure: string, gradNorm = Number.NaN) => ({ loss, lr, gradNorm, failure });
    if (!Number.isFinite(loss)) return fail(`the loss is ${loss}`);
    const report = await this.#synchronization.beforeUpdate({ loss, stopReason });
    loss = report.loss;
    if (report.failure) return fail(report.failure);
    if (isSignal(report.stopReason) && this.#synchronization.everyStep)
      throw new Interrupted(report.stopReason);
    this.#optimizer.step({ lr, step: step + 1, weightDecay, clip });
    const gradNorm = await this.#optimizer.gradientNorm();
    if (!Number.isFinite(gradNorm)) return fail(`the gradients' norm is ${gradNorm}`, gradNorm);
    this.backend.globalNorm(this.#weightNorm, Object.values(this.parameters));
    const [weightNorm] = await this.backend.read(this.#weightNorm);
    if (!Number.isFinite(weightNorm)) return fail(`the weights' norm became ${weightNorm}`, gradNorm);
    const jobStopReason = await this.#synchronization.afterUpdate(step + 1, report);
    this.#position = { step: step + 1, skipped };
    return { loss, lr, gradNorm, stopReason: jobStopReason };
  }

  /**
   * Mean loss on windows of the validation tokens, in nats per token. The batches are distributed over the ranks.
   *
   * @param most the largest number of windows, which are evenly spaced; if there are fewer, all are evaluated
   * @param pollStop is called after every batch
   * @throws Interrupted if a rank received a signal
   */
  async evaluate(most: number, pollStop: PollStop): Promise<number> {
    const { val } = this.data;
    const { rank, world } = this.collective;
    const { context: length } = this.settings.model;
    const windows = countWindows(val, length);
    const chosen = Math.min(windows, most);
    const batch = this.#ids.length / length;
    let sum = 0;
    let stopReason: StopReason | undefined;
    for (let from = rank * batch; from < chosen && !isSignal(stopReason); from += world * batch) {
      const rows = Math.min(batch, chosen - from);
      for (let b = 0; b < batch; b++) {
        // A partial last batch repeats a window, whose loss is not counted.
        const index = from + Math.min(b, rows - 1);
        readWindow(val, Math.floor((index * windows) / chosen), b, this.#ids, this.#targets, length);
      }
      await this.#model.evaluate(this.#ids, this.#targets);
      for (const loss of await this.backend.read(this.#model.losses, 0, rows * length)) sum += loss;
      stopReason = await pollStop();
    }
    const exchange = new Exchange(this.collective, { values: 0, numbers: 2 });
    const reports = await exchange.sumAndGather(sum, encodeStopReason(stopReason));
    stopReason = agreedStopReason(reports.map(([, reason]) => reason));
    if (isSignal(stopReason)) throw new Interrupted(stopReason);
    return reports.reduce((total, [sum]) => total + sum, 0) / (chosen * length);
  }

  /** Starts at step 0, with fresh weights or those of a checkpoint. */
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

  /**
   * Restores the whole state from a checkpoint.
   *
   * @throws ReflowError `checkpoint` if the run cannot be resumed from it; `data` if the training data has changed
   */
  restore(checkpoint: Checkpoint): void {
    const saved = readTrainerJson(checkpoint);
    if (saved.trainTokens !== this.data.train.length) {
      throw new ReflowError(
        "data",
        `the run was trained on ${saved.trainTokens} tokens, but the data now has ${this.data.train.length}`,
        "resume with the original data, or start another run with --init",
      );
    }
    readParameters(this.backend, checkpoint.tensors, "", this.parameters);
    const own = checkpoint.openTensors(momentsFile(this.#localSteps ? this.collective.rank : 0));
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
    const file = checkpoint.openTensors(VELOCITY_FILE);
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

  /** To be called after {@link restore}: skips the batches up to and including the one of step `failedStep`. */
  skipPast(failedStep: number): void {
    this.#position.skipped += failedStep - this.#position.step + 1;
  }

  /**
   * Writes a checkpoint from which {@link restore} continues bit for bit. It contains no times, and no paths besides those
   * of the settings. All ranks must call it; rank 0 writes.
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
    await this.#write(files.tensors(WEIGHTS_FILE, this.#entries("")), { "": this.parameters });
    const { m, v } = this.#optimizer;
    await this.#write(files.tensors(momentsFile(0), this.#entries("m.", "v.")), { "m.": m, "v.": v });
    await this.#writeOtherMoments(files);
    if (!this.#localSteps) return;
    const velocity = files.tensors(VELOCITY_FILE, this.#entries(""));
    let at = 0;
    for (const [name, { size }] of Object.entries(this.parameters)) {
      velocity.write(name, this.#localSteps.velocity.subarray(at, at + size));
      at += size;
    }
  }

  /** With local steps each rank has its own optimizer moments, which it sends to rank 0. */
  async #writeOtherMoments(files?: CheckpointFiles): Promise<void> {
    const { m, v } = this.#optimizer;
    for (let rank = 1; this.#localSteps && rank < this.collective.world; rank++) {
      const file = files?.tensors(momentsFile(rank), this.#entries("m.", "v."));
      await this.#write(file, { "m.": m, "v.": v }, rank);
    }
  }

  #entries(...prefixes: string[]): TensorEntry[] {
    const specs = parameterSpecs(this.settings.model);
    return prefixes.flatMap((prefix) =>
      specs.map(({ name, shape }) => ({ name: prefix + name, shape, dtype: "F32" as const })),
    );
  }

  /** @param from the rank whose values are written; rank 0 writes them, and other ranks send them to it */
  async #write(
    file: TensorFileWriter | undefined,
    groups: Record<string, Parameters>,
    from = 0,
  ): Promise<void> {
    const { rank } = this.collective;
    for (const [prefix, parameters] of Object.entries(groups)) {
      for (const [name, tensor] of Object.entries(parameters)) {
        for (let offset = 0; offset < tensor.size; offset += CHUNK_LENGTH) {
          const length = Math.min(CHUNK_LENGTH, tensor.size - offset);
          const isOwn = rank === from;
          const chunk = isOwn ? await this.backend.read(tensor, offset, length) : new Float32Array(length);
          if (from > 0) await broadcast(this.collective, chunk as Float32Array, from);
          file?.write(prefix + name, chunk as Float32Array);
        }
      }
    }
  }
}

/** Number of values copied to the host at a time while saving. */
const CHUNK_LENGTH = 2 ** 20;

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

/** @throws ReflowError `checkpoint` if the folder has no `trainer.json` */
export function readTrainerJson(checkpoint: Checkpoint): TrainerJson {
  const saved = checkpoint.readJson("trainer.json") as TrainerJson | undefined;
  // Checkpoints written before distributed training existed lack the number of ranks.
  if (saved) return { ...saved, trajectory: { ...saved.trajectory, world: saved.trajectory.world ?? 1 } };
  throw new ReflowError(
    "checkpoint",
    `${checkpoint.folder} has no trainer.json: it contains only weights`,
    "pass it to --init, to start a new run from these weights",
  );
}
