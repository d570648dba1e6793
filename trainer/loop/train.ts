import { existsSync, statSync } from "node:fs";
import { freemem } from "node:os";
import { join } from "node:path";
import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { DeviceName } from "../../runtime/backend/contract/device-name.ts";
import { createBackend } from "../../runtime/backend/create.ts";
import { TENSOR_BYTES } from "../../runtime/backend/wasm/heap.ts";
import { measureRoof } from "../../runtime/backend/wasm/measure.ts";
import { WasmBackend } from "../../runtime/backend/wasm/mod.ts";
import type { WebgpuBackend } from "../../runtime/backend/webgpu/mod.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { type Checkpoint, latestCheckpoint, openCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { lockFolder } from "../../runtime/formats/lock.ts";
import { note } from "../../runtime/host/command.ts";
import { EXIT_CODES } from "../../runtime/host/signals.ts";
import { trainingBytes } from "../../runtime/transformer/trainable-model.ts";
import type { Collective } from "../collective/collective.ts";
import { type Data, loadData } from "../data/load.ts";
import { countWindows } from "../data/sampler.ts";
import { barrier, requireAgreement } from "../distributed/exchange.ts";
import { isSignal } from "../distributed/stop-reason.ts";
import { type Baselines, countingBaselines } from "../monitoring/baselines.ts";
import { withBar } from "../monitoring/display.ts";
import { describeSettings, summarize } from "../monitoring/summary.ts";
import { resolveWatched } from "../monitoring/watch.ts";
import { type Flags, resolveSettings, resumeSettings, type Settings } from "../settings/settings.ts";
import { type RunResult, restoreLatest, runTraining } from "./loop.ts";
import { withBackend } from "./restart.ts";
import { readTrainerJson, Training } from "./training.ts";

/** The resources of a process that trains: its rank in the job, and its share of the machine. */
export interface RankContext {
  collective: Collective;
  /** A specific device, not `auto`. */
  device: DeviceName;
  threads?: number;
  /** Number of ranks on this machine, including this one. */
  localRanks: number;
}

/** How often a run restarts after its device was lost. */
const MAX_RESTARTS = 3;

/** Carries out a whole run, from the command line's flags to the summary. Sets `process.exitCode` after a signal. */
export async function train(flags: Flags, context: RankContext): Promise<void> {
  const { collective, device, threads } = context;
  const { rank, world } = collective;
  const print = rank === 0 ? note : () => {};
  // Rank 0 goes first: it fills the cache that all ranks read, and reports errors only once.
  if (rank > 0) await barrier(collective);
  const out = flags.out ?? defaultFolder(flags);
  if (existsSync(out) && !statSync(out).isDirectory()) {
    throw new ReflowError("usage", `--out ${out} is a file`, "pass the path of a folder");
  }
  const resumed = flags.resume ? openLatest(out) : undefined;
  if (!resumed) requireUnusedFolder(out);
  const init =
    flags.init === undefined || resumed ? undefined : openCheckpoint(flags.init, { weights: "f32" });
  const given = { ...flags, world };
  const settings = resumed ? resumedSettings(resumed, given) : resolveSettings(given, init?.config);
  const { model, trajectory, execution } = settings;
  if (rank === 0 && device === "wasm") requireMemory(settings, context.localRanks);
  print(describeSettings(settings));

  const { data: path, val, tokenizer } = trajectory;
  const inherited = trajectory.init === undefined ? undefined : tokenizerPath(resumed ?? init!);
  const data = await withBar((onProgress) =>
    loadData({
      data: path,
      val,
      tokenizer: tokenizer ?? inherited,
      vocabSize: model.vocab_size,
      onProgress,
    }),
  );
  print(data.description);
  const watched = execution.watch === undefined ? undefined : resolveWatched(execution.watch, data.tokenizer);
  for (const source of [data.train, data.val]) countWindows(source, model.context);
  const baselines = rank === 0 ? measureBaselines(data, model.vocab_size) : undefined;
  if (rank === 0) await barrier(collective);
  if (execution.dryRun) return;

  const until = execution.minutes && performance.now() + execution.minutes * 60_000;
  let lock: ReturnType<typeof lockFolder> | undefined;
  const run = async (backend: Backend): Promise<RunResult> => {
    const training = new Training(backend, settings, data, collective);
    if (rank === 0 && !lock) {
      // Only now, so that errors in flags, data or device leave no folder behind.
      lock = lockFolder(out);
      if (!resumed) requireUnusedFolder(out);
    }
    const ranks = world > 1 ? `, rank 0 of ${collective.description}` : "";
    print(`${backend.description}${ranks}; writing to ${out}`);
    restoreLatest(training, out, init);
    await requireAgreement(
      collective,
      [model, trajectory, data.train.length, training.step],
      "settings, data or checkpoint",
    );
    const roof = world === 1 ? roofMeasurement(backend) : undefined;
    return runTraining(training, { run: out, init, until, roof, watched });
  };
  try {
    const result = await withBackend(
      {
        create: () => createBackend(device, { threads, precision: execution.precision }),
        // With several ranks, the others would have to roll back as well.
        restarts: world === 1 ? MAX_RESTARTS : 0,
        onLoss: ({ message }) => print(`${message}; resuming from the last checkpoint`),
      },
      run,
    );
    if (isSignal(result.reason)) {
      print(`Saved ${result.checkpoint}; pass --resume to continue.`);
      process.exitCode = EXIT_CODES[result.reason];
    } else if (baselines) {
      console.log(await summarize(result.checkpoint, { valLoss: result.valLoss, data, baselines }));
    }
  } finally {
    lock?.release();
    init?.close();
  }
}

/**
 * A function that measures the backend's peak rate. A CPU's peak depends on other current load, so each call measures it; a
 * GPU's takes longer to measure, and is measured once.
 */
function roofMeasurement(backend: Backend): () => number | Promise<number> {
  if (backend instanceof WasmBackend) return () => measureRoof(backend);
  let measured: Promise<number> | undefined;
  return () => {
    measured ??= import("../../runtime/backend/webgpu/measure.ts").then((webgpu) =>
      webgpu.measureRoof(backend as WebgpuBackend),
    );
    return measured;
  };
}

function measureBaselines({ train, val }: Data, vocabSize: number): Baselines {
  const baselines = countingBaselines(train, val, vocabSize);
  note(
    `Baselines on the validation text, in nats per token: unigrams ${baselines.unigram.toFixed(4)}, interpolated bigrams ${baselines.bigram.toFixed(4)}`,
  );
  return baselines;
}

function requireUnusedFolder(out: string): void {
  if (!latestCheckpoint(out)) return;
  throw new ReflowError(
    "usage",
    `${out} already contains a run`,
    "pass --resume to continue it, or choose another --out",
  );
}

/** The path of a checkpoint's `tokenizer.json`, for `--tokenizer`. */
function tokenizerPath({ folder }: Checkpoint): string | undefined {
  const path = join(folder, "tokenizer.json");
  return existsSync(path) ? path : undefined;
}

/** `runs/PRESET`, or `runs/PRESET-2` and so on if that already contains a run. */
function defaultFolder({ preset = "tiny", resume }: Flags): string {
  const folder = (n: number) => join("runs", n === 1 ? preset : `${preset}-${n}`);
  let n = 1;
  while (latestCheckpoint(folder(n))) n++;
  return folder(resume ? Math.max(1, n - 1) : n);
}

function openLatest(run: string): Checkpoint {
  const folder = latestCheckpoint(run);
  if (folder) return openCheckpoint(folder, { weights: "f32" });
  throw new ReflowError(
    "checkpoint",
    `${run} contains no checkpoint to resume from`,
    "omit --resume to start a run",
  );
}

function resumedSettings(checkpoint: Checkpoint, flags: Flags): Settings {
  try {
    const { preset, trajectory } = readTrainerJson(checkpoint);
    return resumeSettings(flags, { preset, model: checkpoint.config, trajectory });
  } finally {
    checkpoint.close();
  }
}

function requireMemory({ preset, model, trajectory }: Settings, ranks: number): void {
  const bytes = trainingBytes(model, { batch: trajectory.batch, length: model.context });
  const gib = (n: number) => `${(n / 2 ** 30).toFixed(1)} GiB`;
  const help = "use a smaller --batch, --context or --preset";
  if (bytes > TENSOR_BYTES) {
    const message = `training ${preset} needs ${gib(bytes)}, but WebAssembly is limited to 4 GiB`;
    throw new ReflowError("memory", message, `${help}; on WASM the large presets are inference-only`);
  }
  if (ranks * bytes > freemem()) {
    const each = ranks > 1 ? `${ranks} ranks need ${gib(bytes)} each` : `training needs ${gib(bytes)}`;
    throw new ReflowError("memory", `${each}, but only ${gib(freemem())} of memory is free`, help);
  }
}
