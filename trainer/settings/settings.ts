import { readFileSync } from "node:fs";
import { closest } from "fastest-levenshtein";
import * as v from "valibot";
import { type DeviceName, isDeviceName } from "../../runtime/backend/contract/device-name.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import {
  type ModelConfig,
  type PartialConfig,
  PRESETS,
  resolveConfig,
  VARIANTS,
} from "../../runtime/config/config.ts";
import { ORDERS } from "../data/sampler.ts";
import { SCHEDULES } from "./schedule.ts";

const count = (least: number) => {
  const expected = `a whole number of at least ${least} was expected`;
  return v.pipe(v.number(expected), v.safeInteger(expected), v.minValue(least, expected));
};
const real = (least: number) => {
  const expected = `a finite number of at least ${least} was expected`;
  return v.pipe(v.number(expected), v.finite(expected), v.minValue(least, expected));
};

/** What decides a run's weights, bit for bit. Saved with every checkpoint; a resumed run keeps it. */
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

/** How a run is carried out and looked at. */
const conduct = {
  out: v.string(),
  resume: v.boolean(),
  device: v.custom<DeviceName>(
    (name) => typeof name === "string" && isDeviceName(name),
    "use auto, wasm, webgpu, or webgpu:N of those that `bun run cli devices` lists",
  ),
  precision: v.picklist(["f32", "f16"]),
  threads: v.pipe(count(1), v.maxValue(256, "at most 256 was expected")),
  collective: v.picklist(["auto", "shared", "mpi"]),
  wire: v.picklist(["f32", "bf16"]),
  deadline: v.pipe(real(0), v.gtValue(0, "more than 0 was expected")),
  minutes: v.pipe(real(0), v.gtValue(0, "more than 0 was expected")),
  evalEvery: count(1),
  logEvery: count(1),
  saveEvery: count(1),
  keep: count(1),
  watch: v.string(),
  dryRun: v.boolean(),
};

/** What shapes the model; the rest of its config comes from the preset, or from `--config`. */
const shape = {
  variant: v.picklist(VARIANTS),
  context: count(1),
};

const flagsSchema = v.partial(
  v.strictObject({
    preset: v.string(),
    ...shape,
    ...trajectory,
    ...conduct,
    world: v.union([v.literal("auto"), count(1)], "auto, or a whole number of at least 1 was expected"),
  }),
);
/** Flags as given, camelCase; absent where they weren't. `model`: what a `--config` file says of the model. */
export type Flags = v.InferOutput<typeof flagsSchema> & { model?: PartialConfig };

type Values<T extends v.ObjectEntries> = v.InferOutput<v.ObjectSchema<T, undefined>>;
type Optional<T, K extends keyof T> = Omit<T, K> & Partial<Pick<T, K>>;
export type Trajectory = Optional<
  Values<typeof trajectory>,
  "data" | "val" | "tokenizer" | "init" | "localSteps"
>;
export type Conduct = Optional<
  Values<typeof conduct>,
  "out" | "threads" | "minutes" | "deadline" | "precision" | "wire" | "watch"
>;

export interface Settings {
  preset: string;
  model: ModelConfig;
  trajectory: Trajectory;
  conduct: Conduct;
}

const DEFAULTS = { batch: 8, accumulate: 1, world: 1, steps: 10_000, lr: 6e-4 };

/** A preset's own way of training, where it differs. `tiny` is the quick start: under four minutes on two cores. */
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
 * A command line's flags, over those of its `--config` file.
 *
 * @throws ReflowError `usage` naming the flag or key, what was found and what was expected; `config` for a file that
 *   isn't one
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
    throw new ReflowError("usage", `${where(key)} is unknown`, `did you mean ${closest(key, known)}?`);
  }
  const value = values[key];
  const found = typeof value === "number" ? value : JSON.stringify(value);
  const isOurs = !issue.message.startsWith("Invalid");
  const help = isOurs ? issue.message : `expected ${issue.expected?.replaceAll('"', "")}`;
  throw new ReflowError("usage", `${where(key)} is ${found}`, help);
}

const flagName = (key: string) => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * Everything a run needs to know: over the preset, the flags.
 *
 * @param inherited the model of `--init`, in the place of a preset that isn't given
 * @throws ReflowError `usage` or `config`
 */
export function resolveSettings(given: Flags, inherited?: ModelConfig): Settings {
  const preset = given.preset ?? "tiny";
  if (!Object.hasOwn(PRESETS, preset)) {
    const help = `did you mean ${closest(preset, Object.keys(PRESETS))}? There are ${Object.keys(PRESETS).join(", ")}`;
    throw new ReflowError("usage", `preset "${preset}" is unknown`, help);
  }
  const ofPreset = { ...PRESETS[preset], ...vocabularyOf(given.tokenizer) };
  const base = inherited && given.preset === undefined ? inherited : ofPreset;
  const model = resolveConfig(base, modelFlags(given));
  if (inherited) mustFit(inherited, model);
  const training: Partial<Trajectory> & typeof DEFAULTS = {
    ...DEFAULTS,
    ...TRAINING[preset],
    ...trajectoryFlags(given),
  };
  const { steps, lr, warmup = 200, localSteps: round = 1 } = training;
  // Between outer steps every rank has weights of its own, and there is nothing to evaluate or to save.
  const inRounds = (every: number) => round * Math.ceil(every / round);
  return {
    preset,
    model,
    trajectory: {
      minLr: Number((lr / 10).toPrecision(12)), // 0.003 / 10 has a tail that nobody asked for
      schedule: "cosine",
      weightDecay: 0.1,
      gradClip: 1,
      order: "shuffled",
      basisInit: "orthogonal",
      seed: 1337,
      ...training,
      warmup: given.warmup ?? Math.min(warmup, Math.ceil(steps / 10)),
    },
    conduct: {
      resume: false,
      device: "auto",
      collective: "auto",
      logEvery: 10,
      keep: 2,
      dryRun: false,
      ...pick(conduct, given),
      evalEvery: inRounds(given.evalEvery ?? Math.max(1, Math.round(steps / 10))),
      saveEvery: inRounds(given.saveEvery ?? Math.max(1, Math.round(steps / 5))),
    },
  };
}

/** `--world auto` stands for nothing here: whoever starts the run counts the GPUs. */
const trajectoryFlags = ({ world, ...given }: Flags): object =>
  pick(trajectory, world === "auto" ? given : { ...given, world });

/** A tokenizer asked for by size decides the vocabulary; GPT-2's is padded to 50304, as in the presets. */
function vocabularyOf(tokenizer: string | undefined): PartialConfig {
  if (tokenizer === "gpt2") return { vocab_size: 50304 };
  const size = tokenizer?.match(/^bpe:(\d+)$/)?.[1];
  return size ? { vocab_size: Number(size) } : {};
}

function pick<T extends object>(keys: T, from: Partial<Record<keyof T, unknown>>): object {
  const entries = Object.keys(keys).map((key) => [key, from[key as keyof T]] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** A JSON object of model keys as in `config.json` and of flags in camelCase: {"d_model": 192, "minLr": 1e-4}. */
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
      'write {"d_model": 192, "lr": 1e-3}',
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

/** What flags and file say of the model. */
const modelFlags = (flags: Flags): PartialConfig => ({ ...flags.model, ...pick(shape, flags) });

/** The first key in which two settings differ. */
function difference(
  a: Record<string, unknown>,
  b: Record<string, unknown>,
  but: string[],
): string | undefined {
  return Object.keys({ ...a, ...b }).find((key) => !but.includes(key) && !Object.is(a[key], b[key]));
}

/** Weights fit a model of another context, unless they hold a table of positions. */
function mustFit(init: ModelConfig, model: ModelConfig): void {
  const key = difference(init, model, init.variant === "gpt2" ? [] : ["context"]) as keyof ModelConfig;
  if (!key) return;
  throw new ReflowError(
    "usage",
    `the model's ${key} is ${model[key] ?? "not set"}, that of --init ${init[key] ?? "not set"}`,
    "leave --preset and the model's shape out: --init brings its own",
  );
}

/** Flags that a resumed run may give anew: the rest of its trajectory is as saved. */
const RESUMABLE = ["steps", "batch", "accumulate", "world"];

/**
 * The settings of a resumed run: its own, and how it is carried out from now on.
 *
 * @throws ReflowError `usage` for a flag that would make it another run
 */
export function resumeSettings(
  given: Flags,
  { preset, model, trajectory: before }: Pick<Settings, "preset" | "model" | "trajectory">,
): Settings {
  const now: Record<string, unknown> = {
    preset: given.preset ?? preset,
    ...resolveConfig(model, modelFlags(given)),
    ...before,
    ...trajectoryFlags(given),
  };
  const kept: Record<string, unknown> = { preset, ...model, ...before };
  const key = difference(kept, now, RESUMABLE);
  if (key) {
    const name = Object.hasOwn(flagsSchema.entries, key) ? flagName(key) : key;
    throw new ReflowError(
      "usage",
      `${name} ${now[key]} is not the run's, which is ${kept[key] ?? "not set"}`,
      "leave it out to resume, or start another run with --init and another --out",
    );
  }
  const steps = given.steps ?? before.steps;
  const { localSteps } = before;
  const { conduct: conducted } = resolveSettings({ ...pick(conduct, given), steps, localSteps });
  return { preset, model, trajectory: { ...before, steps, ...shareOut(given, before) }, conduct: conducted };
}

/**
 * The same sequences a step, by other ranks or in other micro-batches: by as many as there is room for, up to rounding
 * the run stays what it is.
 */
function shareOut(given: Flags, before: Trajectory): Pick<Trajectory, "batch" | "accumulate" | "world"> {
  const sequences = before.batch * before.accumulate * before.world;
  const world = typeof given.world === "number" ? given.world : before.world;
  const { batch = before.batch, accumulate = sequences / (batch * world) } = given;
  const refuse = (message: string, help: string) => new ReflowError("usage", message, help);
  if (before.localSteps && world !== before.world) {
    const message = `with --local-steps each rank has an optimizer of its own, and the run has ${before.world}`;
    throw refuse(message, `resume with --world ${before.world}`);
  }
  const run = `the run's steps are of ${sequences} sequences (batch ${before.batch} × accumulate ${before.accumulate} × world ${before.world})`;
  if (given.accumulate !== undefined && batch * accumulate * world !== sequences) {
    const found = `batch ${batch} × accumulate ${accumulate} × world ${world} is ${batch * accumulate * world}`;
    throw refuse(`${run}; ${found}`, "leave --accumulate out: it follows from the others");
  }
  if (!Number.isInteger(accumulate)) {
    let fitting = Math.min(batch, sequences);
    while (fitting > 0 && sequences % (fitting * world) !== 0) fitting--;
    const help = fitting > 0 ? `pass --batch ${fitting}` : `pass a --world that divides ${sequences}`;
    throw refuse(`${run}, which ${world} × ${batch} does not divide`, help);
  }
  return { batch, accumulate, world };
}
