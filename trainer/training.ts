import type { Backend, Tensor } from "../runtime/backend/backend.ts";
import { ReflowError } from "../runtime/errors.ts";
import { type Checkpoint, writeCheckpoint } from "../runtime/formats/checkpoint.ts";
import type { TensorFile } from "../runtime/formats/tensor-file.ts";
import { parameterSpecs } from "../runtime/model/config.ts";
import { AdamW } from "../runtime/model/optimizer.ts";
import { allocateParameters, initialize, type Parameters } from "../runtime/model/parameters.ts";
import { TrainableModel } from "../runtime/model/train.ts";
import type { Data } from "./data/load.ts";
import { countWindows, readBatch, readWindow, Sampler } from "./data/sampler.ts";
import { learningRate } from "./schedule.ts";
import type { Settings } from "./settings.ts";

export interface StepResult {
  /** Mean loss of the step's tokens, in nats, before the update. */
  loss: number;
  lr: number;
  /** Global norm of the gradients, before clipping. */
  gradNorm: number;
  /** Why the step can't stand, as a sentence's beginning: something is not finite. */
  failure?: string;
}

/** Where a run is: everything beside weights and moments that its next step depends on. */
interface Position {
  /** Steps done. */
  step: number;
  /** Steps' worth of batches passed over after a loss or gradient that was not finite. */
  skipped: number;
}

const WEIGHTS = "model.safetensors";
const MOMENTS = "optimizer.safetensors";

/** A model in training: weights, optimizer and place in the data, that step, evaluate, save and restore. */
export class Training {
  readonly parameters: Parameters;
  readonly tokensPerStep: number;
  #position: Position = { step: 0, skipped: 0 };
  readonly #model: TrainableModel;
  readonly #optimizer: AdamW;
  readonly #weightNorm: Tensor;
  readonly #sampler: Sampler;
  readonly #ids: Int32Array;
  readonly #targets: Int32Array;

  constructor(
    readonly backend: Backend,
    readonly settings: Settings,
    readonly data: Data,
  ) {
    const { model, trajectory } = settings;
    const { batch, accumulate, order, seed } = trajectory;
    const length = model.context;
    this.tokensPerStep = batch * accumulate * length;
    this.#ids = new Int32Array(batch * length);
    this.#targets = new Int32Array(batch * length);
    this.#sampler = new Sampler({ windows: countWindows(data.train, length), order, seed });
    this.parameters = allocateParameters(backend, model);
    this.#model = new TrainableModel(backend, model, this.parameters, { batch, length });
    this.#optimizer = new AdamW(backend, model, this.parameters, this.#model.gradients);
    this.#weightNorm = backend.alloc([1]);
  }

  get step(): number {
    return this.#position.step;
  }

  /**
   * One optimizer step over batch × accumulate sequences. Where the loss or the gradients' norm isn't finite, there is
   * no update. Nor does `step` advance where the update made weights that are not finite. After any of these the caller
   * has to {@link restore}.
   *
   * @param pause is called after every micro-batch; where it throws, nothing has changed but the gradients
   */
  async train(pause: () => Promise<void>): Promise<StepResult> {
    const { trajectory, model } = this.settings;
    const { batch, accumulate, weightDecay, gradClip: clip } = trajectory;
    const { step, skipped } = this.#position;
    let loss = 0;
    for (let micro = 0; micro < accumulate; micro++) {
      const first = ((step + skipped) * accumulate + micro) * batch;
      readBatch(this.data.train, this.#sampler, first, this.#ids, this.#targets, model.context);
      this.#model.forwardBackward(this.#ids, this.#targets, { scale: 1 / accumulate });
      loss += (await this.#model.loss()) / accumulate;
      await pause();
    }
    const lr = learningRate(step, trajectory);
    if (!Number.isFinite(loss)) {
      return { loss, lr, gradNorm: Number.NaN, failure: `the loss is ${loss}` };
    }
    this.#optimizer.step({ lr, step: step + 1, weightDecay, clip });
    const gradNorm = await this.#optimizer.gradientNorm();
    if (!Number.isFinite(gradNorm)) {
      return { loss, lr, gradNorm, failure: `the gradients' norm is ${gradNorm}` };
    }
    this.backend.globalNorm(this.#weightNorm, Object.values(this.parameters));
    const [weightNorm] = await this.backend.read(this.#weightNorm);
    if (!Number.isFinite(weightNorm)) {
      return { loss, lr, gradNorm, failure: `the weights' norm became ${weightNorm}` };
    }
    this.#position = { step: step + 1, skipped };
    return { loss, lr, gradNorm };
  }

  /**
   * Mean loss, in nats a token, on windows of the validation tokens: all of them, or so many, evenly spaced.
   * `pause` is called after every batch.
   */
  async evaluate(most: number, pause: () => Promise<void>): Promise<number> {
    const { val } = this.data;
    const { context: length } = this.settings.model;
    const windows = countWindows(val, length);
    const chosen = Math.min(windows, most);
    const batch = this.#ids.length / length;
    let sum = 0;
    for (let from = 0; from < chosen; from += batch) {
      const rows = Math.min(batch, chosen - from);
      for (let b = 0; b < batch; b++) {
        // A last batch that isn't full repeats a window, whose loss isn't counted.
        const index = from + Math.min(b, rows - 1);
        readWindow(val, Math.floor((index * windows) / chosen), b, this.#ids, this.#targets, length);
      }
      await this.#model.evaluate(this.#ids, this.#targets);
      for (const loss of await this.backend.read(this.#model.losses, 0, rows * length)) sum += loss;
      await pause();
    }
    return sum / (chosen * length);
  }

  /** Fresh weights, or those of a checkpoint, at step 0. */
  start(init?: Checkpoint): void {
    const { model, trajectory } = this.settings;
    if (init) readParameters(this.backend, init.tensors, "", this.parameters);
    else initialize(this.backend, model, trajectory, this.parameters);
    for (const moments of [this.#optimizer.m, this.#optimizer.v]) {
      for (const tensor of Object.values(moments)) this.backend.fill(tensor, 0);
    }
    this.#model.zeroGradients();
    this.#position = { step: 0, skipped: 0 };
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
    const moments = checkpoint.openTensors(MOMENTS);
    try {
      readParameters(this.backend, moments, "m.", this.#optimizer.m);
      readParameters(this.backend, moments, "v.", this.#optimizer.v);
    } finally {
      moments.close();
    }
    this.#model.zeroGradients();
    this.#position = saved.position;
  }

  /** After {@link restore}: passes over the batches up to and with the one that failed `failedStep`. */
  skipPast(failedStep: number): void {
    this.#position.skipped += failedStep - this.#position.step + 1;
  }

  /** Writes a checkpoint that {@link restore} continues from bit for bit. It holds no times and no paths but the data's. */
  async save(folder: string): Promise<void> {
    const { preset, model, trajectory } = this.settings;
    await writeCheckpoint(folder, async (files) => {
      files.json("config.json", model);
      if (this.data.tokenizer) files.json("tokenizer.json", this.data.tokenizer.toJSON());
      const saved: TrainerJson = {
        position: this.#position,
        trainTokens: this.data.train.length,
        preset,
        trajectory,
      };
      files.json("trainer.json", saved);
      const entries = (prefix: string) =>
        parameterSpecs(model).map(({ name, shape }) => ({
          name: prefix + name,
          shape,
          dtype: "F32" as const,
        }));
      const weights = files.tensors(WEIGHTS, entries(""));
      await this.#write(weights, "", this.parameters);
      const moments = files.tensors(MOMENTS, [...entries("m."), ...entries("v.")]);
      await this.#write(moments, "m.", this.#optimizer.m);
      await this.#write(moments, "v.", this.#optimizer.v);
    });
  }

  async #write(
    file: { write(name: string, chunk: Float32Array): void },
    prefix: string,
    parameters: Parameters,
  ): Promise<void> {
    for (const [name, tensor] of Object.entries(parameters)) {
      for (let offset = 0; offset < tensor.size; offset += CHUNK) {
        const length = Math.min(CHUNK, tensor.size - offset);
        file.write(prefix + name, (await this.backend.read(tensor, offset, length)) as Float32Array);
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
  if (saved) return saved;
  throw new ReflowError(
    "checkpoint",
    `${checkpoint.folder} has no trainer.json: it holds weights only`,
    "start a run from them with --init",
  );
}
