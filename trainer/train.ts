import { existsSync, statSync } from "node:fs";
import { freemem } from "node:os";
import { join } from "node:path";
import { TENSOR_BYTES } from "../runtime/backend/wasm/heap.ts";
import { measureRoof } from "../runtime/backend/wasm/measure.ts";
import { createWasmBackend } from "../runtime/backend/wasm/mod.ts";
import { ReflowError } from "../runtime/errors.ts";
import { type Checkpoint, latestCheckpoint, openCheckpoint } from "../runtime/formats/checkpoint.ts";
import { lockFolder } from "../runtime/formats/lock.ts";
import { trainingBytes } from "../runtime/model/train.ts";
import { baselines } from "./baselines.ts";
import { note } from "./command.ts";
import { loadData } from "./data/load.ts";
import { countWindows } from "./data/sampler.ts";
import { withBar } from "./display.ts";
import { EXIT_CODES, returnToCheckpoint, runTraining } from "./loop.ts";
import { type Flags, resolveSettings, resumeSettings, type Settings } from "./settings.ts";
import { describeSettings, summarize } from "./summary.ts";
import { readTrainerJson, Training } from "./training.ts";

/** Trains as the flags say, from the first look at them to the summary. Sets `process.exitCode` after a signal. */
export async function train(flags: Flags): Promise<void> {
  const out = flags.out ?? defaultFolder(flags);
  if (existsSync(out) && !statSync(out).isDirectory()) {
    throw new ReflowError("usage", `--out ${out} is a file`, "a run is a folder: give another path");
  }
  const resumed = flags.resume ? newestOf(out) : undefined;
  if (!resumed) refuseIfTaken(out);
  const init =
    flags.init === undefined || resumed ? undefined : openCheckpoint(flags.init, { weights: "f32" });
  const settings = resumed ? settingsOf(resumed, flags) : resolveSettings(flags, init?.config);
  const { model, trajectory, conduct } = settings;
  refuseIfTooLarge(settings);
  note(describeSettings(settings));

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
  note(data.description);
  const counted = baselines(data.train, data.val, model.vocab_size);
  note(
    `Counting reaches, on the same validation text: unigrams ${counted.unigram.toFixed(4)}, interpolated bigrams ${counted.bigram.toFixed(4)} nats a token`,
  );
  for (const source of [data.train, data.val]) countWindows(source, model.context);
  if (conduct.dryRun) return;

  const backend = await createWasmBackend({ threads: conduct.threads });
  const training = new Training(backend, settings, data);
  // Not before now: what is wrong with the flags or the data leaves no folder behind.
  const lock = lockFolder(out);
  try {
    if (!resumed) refuseIfTaken(out);
    note(`${backend.description}; writing to ${out}`);
    returnToCheckpoint(training, out, init);
    const ending = await runTraining(training, { run: out, init, roof: () => measureRoof(backend) });
    if (ending.reason === "SIGINT" || ending.reason === "SIGTERM") {
      note(`Saved ${ending.checkpoint}; add --resume to go on.`);
      process.exitCode = EXIT_CODES[ending.reason];
    } else {
      console.log(await summarize(ending.checkpoint, { valLoss: ending.valLoss, data, baselines: counted }));
    }
  } finally {
    lock.release();
    backend.dispose();
    init?.close();
  }
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

function refuseIfTooLarge({ preset, model, trajectory }: Settings): void {
  const bytes = trainingBytes(model, { batch: trajectory.batch, length: model.context });
  const gib = (n: number) => `${(n / 2 ** 30).toFixed(1)} GiB`;
  const help = "use a smaller --batch, --context or --preset";
  if (bytes > TENSOR_BYTES) {
    const message = `training ${preset} takes ${gib(bytes)}, and WebAssembly's memory ends at 4 GiB`;
    throw new ReflowError("memory", message, `${help}; on WASM the large presets only infer`);
  }
  if (bytes > freemem()) {
    throw new ReflowError(
      "memory",
      `training takes ${gib(bytes)}, ${gib(freemem())} of memory are free`,
      help,
    );
  }
}
