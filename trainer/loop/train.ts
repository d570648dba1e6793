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
import { type Baselines, baselines } from "../monitoring/baselines.ts";
import type { Collective } from "../collective/collective.ts";
import { type Data, loadData } from "../data/load.ts";
import { countWindows } from "../data/sampler.ts";
import { withBar } from "../monitoring/display.ts";
import { meet, mustAgree } from "../distributed/synchronization.ts";
import { type Ending, returnToCheckpoint, runTraining } from "./loop.ts";
import { withBackend } from "./restart.ts";
import { type Flags, resolveSettings, resumeSettings, type Settings } from "../settings/settings.ts";
import { isSignal } from "../distributed/stop-reason.ts";
import { describeSettings, summarize } from "../monitoring/summary.ts";
import { readTrainerJson, Training } from "./training.ts";
import { findWatched } from "../monitoring/watch.ts";

/** Where a process trains. */
export interface Place {
  collective: Collective;
  /** Not `auto`. */
  device: DeviceName;
  threads?: number;
  /** Ranks on this machine, with this one. */
  neighbours: number;
}

/** How often a run goes on after its device was lost. */
const RESTARTS = 3;

/** Trains as the flags say, from the first look at them to the summary. Sets `process.exitCode` after a signal. */
export async function train(flags: Flags, place: Place): Promise<void> {
  const { collective, device, threads } = place;
  const { rank, world } = collective;
  const say = rank === 0 ? note : () => {};
  // Rank 0 looks at everything first: it prepares what all will find, and what is wrong is said once.
  if (rank > 0) await meet(collective);
  const out = flags.out ?? defaultFolder(flags);
  if (existsSync(out) && !statSync(out).isDirectory()) {
    throw new ReflowError("usage", `--out ${out} is a file`, "a run is a folder: give another path");
  }
  const resumed = flags.resume ? newestOf(out) : undefined;
  if (!resumed) refuseIfTaken(out);
  const init =
    flags.init === undefined || resumed ? undefined : openCheckpoint(flags.init, { weights: "f32" });
  const given = { ...flags, world };
  const settings = resumed ? settingsOf(resumed, given) : resolveSettings(given, init?.config);
  const { model, trajectory, conduct } = settings;
  if (rank === 0 && device === "wasm") refuseIfTooLarge(settings, place.neighbours);
  say(describeSettings(settings));

  const { data: path, val, tokenizer } = trajectory;
  const inherited = trajectory.init === undefined ? undefined : tokenizerOf(resumed ?? init!);
  const data = await withBar((onProgress) =>
    loadData({
      data: path,
      val,
      tokenizer: tokenizer ?? inherited,
      vocabSize: model.vocab_size,
      onProgress,
    }),
  );
  say(data.description);
  const watched = conduct.watch === undefined ? undefined : findWatched(conduct.watch, data.tokenizer);
  for (const source of [data.train, data.val]) countWindows(source, model.context);
  const counted = rank === 0 ? countTokens(data, model.vocab_size) : undefined;
  if (rank === 0) await meet(collective);
  if (conduct.dryRun) return;

  const until = conduct.minutes && performance.now() + conduct.minutes * 60_000;
  let lock: ReturnType<typeof lockFolder> | undefined;
  const run = async (backend: Backend): Promise<Ending> => {
    const training = new Training(backend, settings, data, collective);
    if (rank === 0 && !lock) {
      // Not before now: what is wrong with flags, data or device leaves no folder behind.
      lock = lockFolder(out);
      if (!resumed) refuseIfTaken(out);
    }
    const ranks = world > 1 ? `, the first of ${collective.description}` : "";
    say(`${backend.description}${ranks}; writing to ${out}`);
    returnToCheckpoint(training, out, init);
    await mustAgree(
      collective,
      [model, trajectory, data.train.length, training.step],
      "settings, data and checkpoint",
    );
    const roof = world === 1 ? roofOf(backend) : undefined;
    return runTraining(training, { run: out, init, until, roof, watched });
  };
  try {
    const ending = await withBackend(
      {
        create: () => createBackend(device, { threads, precision: conduct.precision }),
        // The other ranks would have to go back too.
        restarts: world === 1 ? RESTARTS : 0,
        onLoss: ({ message }) => say(`${message}; going on from the last checkpoint`),
      },
      run,
    );
    if (isSignal(ending.reason)) {
      say(`Saved ${ending.checkpoint}; add --resume to go on.`);
      process.exitCode = EXIT_CODES[ending.reason];
    } else if (counted) {
      console.log(await summarize(ending.checkpoint, { valLoss: ending.valLoss, data, baselines: counted }));
    }
  } finally {
    lock?.release();
    init?.close();
  }
}

/** A CPU's roof depends on what else it does just now; a GPU's takes longer to measure, and is measured once. */
function roofOf(backend: Backend): () => number | Promise<number> {
  if (backend instanceof WasmBackend) return () => measureRoof(backend);
  let measured: Promise<number> | undefined;
  return () => {
    measured ??= import("../../runtime/backend/webgpu/measure.ts").then((webgpu) =>
      webgpu.measureRoof(backend as WebgpuBackend),
    );
    return measured;
  };
}

function countTokens({ train, val }: Data, vocabSize: number): Baselines {
  const counted = baselines(train, val, vocabSize);
  note(
    `Counting reaches, on the same validation text: unigrams ${counted.unigram.toFixed(4)}, interpolated bigrams ${counted.bigram.toFixed(4)} nats a token`,
  );
  return counted;
}

function refuseIfTaken(out: string): void {
  if (!latestCheckpoint(out)) return;
  throw new ReflowError(
    "usage",
    `${out} holds a run already`,
    "add --resume to go on, or choose another --out",
  );
}

/** A checkpoint's `tokenizer.json`, as `--tokenizer` takes it. */
function tokenizerOf({ folder }: Checkpoint): string | undefined {
  const path = join(folder, "tokenizer.json");
  return existsSync(path) ? path : undefined;
}

/** `runs/PRESET`, or `runs/PRESET-2` and so on where that holds a run already. */
function defaultFolder({ preset = "tiny", resume }: Flags): string {
  const folder = (n: number) => join("runs", n === 1 ? preset : `${preset}-${n}`);
  let n = 1;
  while (latestCheckpoint(folder(n))) n++;
  return folder(resume ? Math.max(1, n - 1) : n);
}

function newestOf(run: string): Checkpoint {
  const folder = latestCheckpoint(run);
  if (folder) return openCheckpoint(folder, { weights: "f32" });
  throw new ReflowError(
    "checkpoint",
    `${run} holds no checkpoint to resume`,
    "leave --resume out to begin a run",
  );
}

function settingsOf(checkpoint: Checkpoint, flags: Flags): Settings {
  try {
    const { preset, trajectory } = readTrainerJson(checkpoint);
    return resumeSettings(flags, { preset, model: checkpoint.config, trajectory });
  } finally {
    checkpoint.close();
  }
}

function refuseIfTooLarge({ preset, model, trajectory }: Settings, ranks: number): void {
  const bytes = trainingBytes(model, { batch: trajectory.batch, length: model.context });
  const gib = (n: number) => `${(n / 2 ** 30).toFixed(1)} GiB`;
  const help = "use a smaller --batch, --context or --preset";
  if (bytes > TENSOR_BYTES) {
    const message = `training ${preset} takes ${gib(bytes)}, and WebAssembly's memory ends at 4 GiB`;
    throw new ReflowError("memory", message, `${help}; on WASM the large presets only infer`);
  }
  if (ranks * bytes > freemem()) {
    const each = ranks > 1 ? `${ranks} ranks take ${gib(bytes)} each` : `training takes ${gib(bytes)}`;
    throw new ReflowError("memory", `${each}, ${gib(freemem())} of memory are free`, help);
  }
}
