/**
 * A checkpoint is a folder: `config.json`, `model.safetensors` (or `model.int8.safetensors`, or both),
 * `tokenizer.json`, for resuming `optimizer.safetensors` and `trainer.json`, and `manifest.json` with the
 * size and SHA-256 of each. A run is a folder of checkpoints named `step-00000100`, each written exactly
 * once.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { ReflowError } from "../common/errors.ts";
import { type ModelConfig, parseConfig } from "../config/config.ts";
import { checkTensors, HELD_OUT, WEIGHT_FILES, type WeightFormat } from "./checkpoint-tensors.ts";
import {
  codeOf,
  discard,
  diskError,
  type FileRecord,
  hashFile,
  readTextIfAny,
  removeTemporaries,
  syncFolder,
  temporary,
  writeDurably,
} from "./disk.ts";
import { checkFile, checkSizes, DAMAGED, encodeManifest, type Manifest, readManifest } from "./manifest.ts";
import type { TensorEntry } from "./safetensors.ts";
import { createTensorFile, openTensorFile, type TensorFile, type TensorFileWriter } from "./tensor-file.ts";

// ---- writing ----------------------------------------------------------------------------------------------

/** The functions through which {@link writeCheckpoint} receives a checkpoint's files. */
export interface CheckpointFiles {
  json(name: string, value: unknown): void;
  /** The file is closed by `writeCheckpoint`. */
  tensors(
    name: string,
    entries: readonly TensorEntry[],
    metadata?: Readonly<Record<string, string>>,
  ): TensorFileWriter;
}

/** The folder of a step in a run: `RUN/step-00000100`. */
export const stepFolder = (run: string, step: number): string =>
  join(run, `step-${String(step).padStart(8, "0")}`);

/**
 * Writes a checkpoint folder: under a temporary name beside it, with every file fsynced and the manifest last, then
 * renamed. If the process is killed or the power fails at any moment, `folder` is either absent or complete. If `write`
 * throws or the disk is full, nothing is left behind.
 *
 * @throws ReflowError `checkpoint` if it cannot be written or `folder` already exists. Only a checkpoint that fails its
 * manifest is replaced.
 * @example
 * await writeCheckpoint(stepFolder(run, 100), async (files) => {
 *   files.json("config.json", config);
 *   const weights = files.tensors("model.safetensors", entries);
 *   for (const { name } of entries) weights.write(name, await backend.read(parameters[name]));
 * });
 */
export async function writeCheckpoint(
  folder: string,
  write: (files: CheckpointFiles) => void | Promise<void>,
): Promise<void> {
  const target = resolve(folder);
  refuseIfTaken(target);
  const staging = temporary(target);
  const manifest: Manifest = {};
  const open = new Map<string, TensorFileWriter>();
  const files: CheckpointFiles = {
    json(name, value) {
      manifest[name] = writeDurably(
        join(staging, name),
        new TextEncoder().encode(JSON.stringify(value, null, 2)),
      );
    },
    tensors(name, entries, metadata) {
      const file = createTensorFile(join(staging, name), entries, metadata);
      open.set(name, file);
      return file;
    },
  };
  try {
    mkdirSync(staging, { recursive: true });
    await write(files);
    for (const [name, file] of open) manifest[name] = file.close();
    writeDurably(join(staging, "manifest.json"), encodeManifest(manifest));
    syncFolder(staging);
    refuseIfTaken(target);
    if (existsSync(target)) renameSync(target, temporary(target));
    renameSync(staging, target);
    syncFolder(dirname(target));
  } catch (cause) {
    for (const file of open.values()) file.abort();
    discard(staging);
    throw diskError(cause, folder);
  }
}

function refuseIfTaken(folder: string): void {
  if (!existsSync(folder)) return;
  const isDamagedCheckpoint = existsSync(join(folder, "manifest.json")) && findDamage(folder);
  if (!isDamagedCheckpoint) {
    throw new ReflowError(
      "checkpoint",
      `${folder} already exists`,
      "write to another folder, or remove it first",
    );
  }
}

// ---- runs -------------------------------------------------------------------------------------------------

/** @throws ReflowError `checkpoint` if the path cannot be inspected */
function statIfAny(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    const message = `${path} could not be opened (${codeOf(cause)})`;
    throw new ReflowError("checkpoint", message, "check the path and its permissions", { cause });
  }
}

/** Step folders of a run, newest first, damaged ones included. */
function steps(run: string): string[] {
  if (!statIfAny(run)?.isDirectory()) return [];
  return readdirSync(run)
    .map((name) => /^step-(\d+)$/.exec(name))
    .filter((match) => match !== null)
    .sort((a, b) => Number(b[1]) - Number(a[1]))
    .map(([name]) => join(run, name));
}

/** Why a folder is not a complete checkpoint, judging by names and sizes; undefined if it is one. */
function findDamage(folder: string): ReflowError | undefined {
  const missing = (what: string) => new ReflowError("checkpoint", `${folder} has no ${what}`, DAMAGED);
  try {
    const manifest = readManifest(folder);
    if (manifest) checkSizes(folder, manifest);
  } catch (error) {
    if (error instanceof ReflowError) return error;
    throw error;
  }
  if (!existsSync(join(folder, "config.json"))) return missing("config.json");
  if (!Object.values(WEIGHT_FILES).some((name) => existsSync(join(folder, name)))) {
    return missing(Object.values(WEIGHT_FILES).join(" or "));
  }
}

/**
 * The newest checkpoint of a run whose files have the sizes in its manifest; undefined if there is none. Hashes are checked
 * by {@link openCheckpoint}.
 */
export function latestCheckpoint(run: string): string | undefined {
  return steps(run).find((folder) => !findDamage(folder));
}

/**
 * The checkpoint folder that a path refers to: the path itself, or the newest of a run that is complete by names and sizes.
 *
 * @throws ReflowError `checkpoint` if there is none
 */
export function resolveCheckpoint(path: string): string {
  const stat = statIfAny(path);
  const help = "give a checkpoint's folder, with config.json and model.safetensors, or a run's folder";
  if (!stat) throw new ReflowError("checkpoint", `${path} does not exist`, help);
  if (!stat.isDirectory()) throw new ReflowError("checkpoint", `${path} is not a folder`, help);
  const latest = latestCheckpoint(path);
  if (latest) return latest;
  const marks = ["config.json", "manifest.json", ...Object.values(WEIGHT_FILES)];
  const isCheckpoint = marks.some((name) => existsSync(join(path, name)));
  const [candidate] = isCheckpoint ? [path] : steps(path);
  if (!candidate) throw new ReflowError("checkpoint", `${path} holds no checkpoint`, help);
  const damage = findDamage(candidate);
  if (damage) throw damage;
  return candidate;
}

/** The path of a checkpoint's held-out text, if it has one. */
export function heldOutOf(checkpoint: string): string | undefined {
  const path = join(resolveCheckpoint(checkpoint), HELD_OUT);
  return existsSync(path) ? path : undefined;
}

/**
 * Removes all but the newest `keep` checkpoints of a run, and the remains of interrupted saves. Damaged checkpoints do not
 * count and are not removed. The caller must hold the run's lock, and no save may be in progress.
 *
 * @throws ReflowError `checkpoint` if the folder cannot be changed
 */
export function pruneCheckpoints(run: string, keep: number): void {
  if (!(keep >= 1)) throw new RangeError(`keep is ${keep}: expected at least 1`);
  try {
    const complete = steps(run).filter((folder) => !findDamage(folder));
    // Renamed first, so that a kill half-way leaves no half checkpoint under a checkpoint's name.
    for (const folder of complete.slice(keep)) renameSync(folder, temporary(folder));
    removeTemporaries(run);
  } catch (cause) {
    throw diskError(cause, run);
  }
}

// ---- reading ----------------------------------------------------------------------------------------------

export interface OpenOptions {
  /** The weights to read. Default: f32 if present, otherwise int8. */
  weights?: WeightFormat;
  /**
   * Compares the hash of every file with the manifest before it is used. Default: true, which takes 20 ms for 29 MB
   * (1.5 GB/s). Reading from the page cache runs at 5 GB/s, so that hashing in the same pass would save little.
   */
  verify?: boolean;
}

/**
 * Opens a checkpoint, or a run's newest, and checks that its tensors match its config: f32 weights as F32, F16 or BF16
 * (read with `readF32`), int8 weights as I8 with `<name>.scale`.
 *
 * @throws ReflowError `checkpoint`, `config` or `format` naming the file and the problem
 * @example
 * const checkpoint = openCheckpoint("runs/nano");
 * for (const { name } of parameterSpecs(checkpoint.config)) {
 *   checkpoint.tensors.readF32(name, (chunk, offset) => backend.write(parameters[name], chunk, offset));
 * }
 * checkpoint.close();
 */
export function openCheckpoint(path: string, { weights, verify = true }: OpenOptions = {}): Checkpoint {
  const folder = resolveCheckpoint(path);
  const manifest = readManifest(folder) ?? {};
  const chosen = weights ?? (existsSync(join(folder, WEIGHT_FILES.f32)) ? "f32" : "int8");
  if (!existsSync(join(folder, WEIGHT_FILES[chosen]))) {
    const help = chosen === "int8" ? "quantize the checkpoint first" : "use its int8 weights";
    throw new ReflowError("checkpoint", `${folder} has no ${WEIGHT_FILES[chosen]}`, help);
  }
  return new Checkpoint(folder, manifest, chosen, verify);
}

/** A checkpoint open for reading, created by {@link openCheckpoint}. */
export class Checkpoint {
  readonly config: ModelConfig;
  /** The content of `tokenizer.json` in Hugging Face's format, if the checkpoint has one. */
  readonly tokenizerJson?: unknown;
  /** The parameters. */
  readonly tensors: TensorFile;
  #identity?: string;

  constructor(
    readonly folder: string,
    readonly manifest: Manifest,
    readonly weights: WeightFormat,
    readonly verify: boolean,
  ) {
    this.config = parseConfig(this.readJson("config.json"), join(folder, "config.json"));
    this.tokenizerJson = this.readJson("tokenizer.json");
    this.tensors = this.openTensors(WEIGHT_FILES[weights]);
    try {
      checkTensors(this.tensors, this.config, weights);
      if (weights === "int8") this.#identity = this.#originOf(this.tensors);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * The SHA-256 of the f32 `model.safetensors`, which quantised copies carry in their metadata. Without a manifest the file
   * is hashed at the first call.
   */
  get identity(): string {
    const name = WEIGHT_FILES.f32;
    this.#identity ??= this.manifest[name]?.sha256 ?? hashFile(join(this.folder, name));
    return this.#identity;
  }

  /** A JSON file of the folder, verified; undefined if absent. */
  readJson(name: string): unknown {
    this.#check(name);
    const path = join(this.folder, name);
    const text = readTextIfAny(path);
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new ReflowError("checkpoint", `${path} is not JSON`, DAMAGED, { cause });
    }
  }

  /**
   * Another tensor file of the folder, verified, such as `optimizer.safetensors`. The caller closes it.
   */
  openTensors(name: string): TensorFile {
    this.#check(name);
    return openTensorFile(join(this.folder, name));
  }

  close(): void {
    this.tensors.close();
  }

  #check(name: string): void {
    if (this.verify) checkFile(this.folder, name, this.manifest);
  }

  #originOf({ path, metadata }: TensorFile): string {
    const { identity } = metadata;
    if (!/^[0-9a-f]{64}$/.test(identity)) {
      const help = "quantize the checkpoint again";
      throw new ReflowError(
        "checkpoint",
        `${path} does not name the model.safetensors it was made from`,
        help,
      );
    }
    const current: FileRecord | undefined = this.manifest[WEIGHT_FILES.f32];
    if (current && current.sha256 !== identity) {
      const message = `${path} was made from another model.safetensors (SHA-256 ${identity})`;
      throw new ReflowError("checkpoint", message, "quantize the checkpoint again");
    }
    return identity;
  }
}
