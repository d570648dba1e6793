import { readFileSync } from "node:fs";
import { closest } from "fastest-levenshtein";
import * as v from "valibot";
import { type DeviceName, isDeviceName } from "../../runtime/backend/contract/device-name.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import {
  type ModelConfig,
  type PartialConfig,
  resolveConfig,
  VARIANTS,
} from "../../runtime/config/config.ts";
import { PRESETS } from "../../runtime/config/presets.ts";
import { ORDERS } from "../data/sampler.ts";
import { SCHEDULES } from "./schedule.ts";

const count = (minimum: number) => {
  const expected = `expected a whole number of at least ${minimum}`;
  return v.pipe(v.number(expected), v.safeInteger(expected), v.minValue(minimum, expected));
};
const real = (minimum: number) => {
  const expected = `expected a finite number of at least ${minimum}`;
  return v.pipe(v.number(expected), v.finite(expected), v.minValue(minimum, expected));
};

/** Settings that determine a run's weights bit for bit. They are saved with every checkpoint; a resumed run keeps them. */
const trajectory = {
  data: v.string(),
  val: v.string(),
  tokenizer: v.string(),
  init: v.string(),
  batch: count(1),
  accumulate: count(1),
  world: count(1),
  localSteps: count(1),
  steps: count(1),
  lr: real(0),
  minLr: real(0),
  schedule: v.picklist(SCHEDULES),
  warmup: count(0),
  weightDecay: real(0),
  gradClip: real(0),
  order: v.picklist(ORDERS),
  basisInit: v.picklist(["orthogonal", "normal"]),
  seed: count(0),
};

/** Settings for executing and observing a run, which do not affect its weights beyond rounding. */
const execution = {
  out: v.string(),
  resume: v.boolean(),
  device: v.custom<DeviceName>(
    (name) => typeof name === "string" && isDeviceName(name),
    "expected auto, wasm, webgpu, or a webgpu:N listed by `bun run cli devices`",
  ),
  precision: v.picklist(["f32", "f16"]),
  threads: v.pipe(count(1), v.maxValue(256, "expected at most 256")),
  collective: v.picklist(["auto", "shared", "mpi"]),
  wire: v.picklist(["f32", "bf16"]),
  deadline: v.pipe(real(0), v.gtValue(0, "expected a number greater than 0")),
  minutes: v.pipe(real(0), v.gtValue(0, "expected a number greater than 0")),
  evalEvery: count(1),
  logEvery: count(1),
  saveEvery: count(1),
  keep: count(1),
  watch: v.string(),
  dryRun: v.boolean(),
};

/** Flags that shape the model. The rest of its config comes from the preset, or from `--config`. */
const shape = {
  variant: v.picklist(VARIANTS),
  context: count(1),
};

const flagsSchema = v.partial(
  v.strictObject({
    preset: v.string(),
    ...shape,
    ...trajectory,
    ...execution,
    world: v.union([v.literal("auto"), count(1)], "expected auto or a whole number of at least 1"),
  }),
);
/** The flags given, in camelCase; flags not given are absent. `model`: the model keys of a `--config` file. */
export type Flags = v.InferOutput<typeof flagsSchema> & { model?: PartialConfig };

type Values<T extends v.ObjectEntries> = v.InferOutput<v.ObjectSchema<T, undefined>>;
type Optional<T, K extends keyof T> = Omit<T, K> & Partial<Pick<T, K>>;
export type Trajectory = Optional<
  Values<typeof trajectory>,
  "data" | "val" | "tokenizer" | "init" | "localSteps"
>;
export type Execution = Optional<
  Values<typeof execution>,
  "out" | "threads" | "minutes" | "deadline" | "precision" | "wire" | "watch"
>;

export interface Settings {
  preset: string;
  model: ModelConfig;
  trajectory: Trajectory;
  execution: Execution;
}

const DEFAULTS = { batch: 8, accumulate: 1, world: 1, steps: 10_000, lr: 6e-4 };

/** Training defaults of presets that differ from the general ones. `tiny` is the quick start: under four minutes on two cores. */
const TRAINING: Record<string, Partial<Trajectory>> = {
  tiny: { batch: 8, steps: 1100, lr: 3e-3, warmup: 50 },
  nano: { batch: 8, steps: 5000, lr: 1.5e-3, warmup: 150 },
  small: { batch: 1, accumulate: 8 },
};

const MODEL_KEYS = new Set([
  "variant",
  "vocab_size",
  "n_signals",
  "top_k",
  "d_model",
  "n_layers",
  "n_heads",
  "n_kv_heads",
  "d_ff",
  "context",
  "rope_theta",
]);

/**
 * The flags of a command line, which take precedence over those of its `--config` file.
 *
 * @throws ReflowError `usage` naming the flag or key, the value found and the value expected; `config` if the file is
 *   missing or invalid
 */
export function readFlags({ config, ...options }: { config?: string } & Record<string, unknown>): Flags {
  const flags = checkFlags(options, flagName);
  return config === undefined ? flags : { ...readConfigFile(config), ...flags };
}

function checkFlags(values: Record<string, unknown>, where: (key: string) => string): Flags {
  const result = v.safeParse(flagsSchema, values);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const key = String(issue.path?.[0]?.key);
  const known = [...Object.keys(flagsSchema.entries), ...MODEL_KEYS];
  if (issue.type === "strict_object") {
    throw new ReflowError(
      "usage",
      `${where(key)} is not a known option`,
      `did you mean ${closest(key, known)}?`,
    );
  }
  const value = values[key];
  const found = typeof value === "number" ? value : JSON.stringify(value);
  const isCustomMessage = !issue.message.startsWith("Invalid");
  const help = isCustomMessage ? issue.message : `expected ${issue.expected?.replaceAll('"', "")}`;
  throw new ReflowError("usage", `${where(key)} is ${found}`, help);
}

const flagName = (key: string) => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * The complete settings of a run. Flags take precedence over the preset.
 *
 * @param inherited the model of `--init`, used if no preset is given
 * @throws ReflowError `usage` or `config`
 */
export function resolveSettings(given: Flags, inherited?: ModelConfig): Settings {
  const preset = given.preset ?? "tiny";
  if (!Object.hasOwn(PRESETS, preset)) {
    const help = `did you mean ${closest(preset, Object.keys(PRESETS))}? Presets: ${Object.keys(PRESETS).join(", ")}`;
    throw new ReflowError("usage", `--preset ${preset} is not a known preset`, help);
  }
  const presetConfig = { ...PRESETS[preset], ...vocabularyOf(given.tokenizer) };
  const base = inherited && given.preset === undefined ? inherited : presetConfig;
  const model = resolveConfig(base, modelFlags(given));
  if (inherited) requireCompatible(inherited, model);
  const training: Partial<Trajectory> & typeof DEFAULTS = {
    ...DEFAULTS,
    ...TRAINING[preset],
    ...trajectoryFlags(given),
  };
  const { steps, lr, warmup = 200, localSteps: period = 1 } = training;
  // Only after an outer step do the ranks share one set of weights, which can be evaluated and saved.
  const wholePeriods = (every: number) => period * Math.ceil(every / period);
  return {
    preset,
    model,
    trajectory: {
      minLr: Number((lr / 10).toPrecision(12)), // removes the rounding error of 0.003 / 10
      schedule: "cosine",
      weightDecay: 0.1,
      gradClip: 1,
      order: "shuffled",
      basisInit: "orthogonal",
      seed: 1337,
      ...training,
      warmup: given.warmup ?? Math.min(warmup, Math.ceil(steps / 10)),
    },
    execution: {
      resume: false,
      device: "auto",
      collective: "auto",
      logEvery: 10,
      keep: 2,
      dryRun: false,
      ...pick(execution, given),
      evalEvery: wholePeriods(given.evalEvery ?? Math.max(1, Math.round(steps / 10))),
      saveEvery: wholePeriods(given.saveEvery ?? Math.max(1, Math.round(steps / 5))),
    },
  };
}

/** Drops `--world auto`, which `start` resolves to a number of ranks. */
const trajectoryFlags = ({ world, ...given }: Flags): object =>
  pick(trajectory, world === "auto" ? given : { ...given, world });

/** The vocabulary implied by `--tokenizer`: the size of `bpe:N`; for GPT-2's, 50304, padded as in the presets. */
function vocabularyOf(tokenizer: string | undefined): PartialConfig {
  if (tokenizer === "gpt2") return { vocab_size: 50304 };
  const size = tokenizer?.match(/^bpe:(\d+)$/)?.[1];
  return size ? { vocab_size: Number(size) } : {};
}

function pick<T extends object>(keys: T, from: Partial<Record<keyof T, unknown>>): object {
  const entries = Object.keys(keys).map((key) => [key, from[key as keyof T]] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Reads a JSON object of model keys, as in `config.json`, and of flags in camelCase: {"d_model": 192, "minLr": 1e-4}. */
function readConfigFile(path: string): Flags {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new ReflowError("config", `--config ${path}: ${(cause as Error).message}`, "pass a JSON file", {
      cause,
    });
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ReflowError(
      "config",
      `--config ${path} is not a JSON object`,
      'write an object such as {"d_model": 192, "lr": 1e-3}',
    );
  }
  const entries = Object.entries(json);
  const isModel = ([key]: [string, unknown]) => MODEL_KEYS.has(key);
  const flags = Object.fromEntries(entries.filter((entry) => !isModel(entry)));
  return {
    ...checkFlags(flags, (key) => `--config ${path}: ${key}`),
    model: Object.fromEntries(entries.filter(isModel)) as PartialConfig,
  };
}

/** The model keys of the flags and of the `--config` file. */
const modelFlags = (flags: Flags): PartialConfig => ({ ...flags.model, ...pick(shape, flags) });

/** The first key in which two settings differ, except for the keys in `ignored`. */
function firstDifference(
  a: Record<string, unknown>,
  b: Record<string, unknown>,
  ignored: string[],
): string | undefined {
  return Object.keys({ ...a, ...b }).find((key) => !ignored.includes(key) && !Object.is(a[key], b[key]));
}

/** Weights fit a model with another context length, unless they contain a position table. */
function requireCompatible(init: ModelConfig, model: ModelConfig): void {
  const key = firstDifference(init, model, init.variant === "gpt2" ? [] : ["context"]) as keyof ModelConfig;
  if (!key) return;
  throw new ReflowError(
    "usage",
    `the model's ${key} is ${model[key] ?? "not set"}, but that of --init is ${init[key] ?? "not set"}`,
    "omit --preset and the model's shape: they come from --init",
  );
}

/** The only flags of the trajectory that may change when a run is resumed. */
const RESUMABLE = ["steps", "batch", "accumulate", "world"];

/**
 * The settings of a resumed run: the saved trajectory, with the execution settings given now.
 *
 * @throws ReflowError `usage` for a flag that contradicts the saved trajectory
 */
export function resumeSettings(
  given: Flags,
  { preset, model, trajectory: saved }: Pick<Settings, "preset" | "model" | "trajectory">,
): Settings {
  const now: Record<string, unknown> = {
    preset: given.preset ?? preset,
    ...resolveConfig(model, modelFlags(given)),
    ...saved,
    ...trajectoryFlags(given),
  };
  const kept: Record<string, unknown> = { preset, ...model, ...saved };
  const key = firstDifference(kept, now, RESUMABLE);
  if (key) {
    const name = Object.hasOwn(flagsSchema.entries, key) ? flagName(key) : key;
    throw new ReflowError(
      "usage",
      `${name} is ${now[key]}, but the run has ${kept[key] ?? "none"}`,
      "omit it to resume, or start another run with --init and another --out",
    );
  }
  const steps = given.steps ?? saved.steps;
  const { localSteps } = saved;
  const resolved = resolveSettings({ ...pick(execution, given), steps, localSteps });
  return {
    preset,
    model,
    trajectory: { ...saved, steps, ...redistributeBatch(given, saved) },
    execution: resolved.execution,
  };
}

/**
 * Distributes the sequences of a step over another number of ranks, or other micro-batches. The global batch stays the
 * same, and so does the run, up to rounding.
 */
function redistributeBatch(
  given: Flags,
  saved: Trajectory,
): Pick<Trajectory, "batch" | "accumulate" | "world"> {
  const sequences = saved.batch * saved.accumulate * saved.world;
  const world = typeof given.world === "number" ? given.world : saved.world;
  const { batch = saved.batch, accumulate = sequences / (batch * world) } = given;
  const refuse = (message: string, help: string) => new ReflowError("usage", message, help);
  if (saved.localSteps && world !== saved.world) {
    const message = `with --local-steps each rank has its own optimizer state, and the run has ${saved.world} ranks`;
    throw refuse(message, `resume with --world ${saved.world}`);
  }
  const run = `the run has ${sequences} sequences per step (batch ${saved.batch} × accumulate ${saved.accumulate} × world ${saved.world})`;
  if (given.accumulate !== undefined && batch * accumulate * world !== sequences) {
    const found = `batch ${batch} × accumulate ${accumulate} × world ${world} is ${batch * accumulate * world}`;
    throw refuse(`${run}; ${found}`, "omit --accumulate: it follows from the others");
  }
  if (!Number.isInteger(accumulate)) {
    let fitting = Math.min(batch, sequences);
    while (fitting > 0 && sequences % (fitting * world) !== 0) fitting--;
    const help = fitting > 0 ? `pass --batch ${fitting}` : `pass a --world that divides ${sequences}`;
    throw refuse(`${run}, which is not divisible by world ${world} × batch ${batch}`, help);
  }
  return { batch, accumulate, world };
}
