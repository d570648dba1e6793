import { readFileSync } from "node:fs";
import { closest } from "fastest-levenshtein";
import * as v from "valibot";
import { ReflowError } from "../runtime/errors.ts";
import {
  type ModelConfig,
  type PartialConfig,
  PRESETS,
  resolveConfig,
  VARIANTS,
} from "../runtime/model/config.ts";
import { ORDERS } from "./data/sampler.ts";
import { SCHEDULES } from "./schedule.ts";

const count = (least: number) =>
  v.pipe(
    v.number(),
    v.integer(),
    v.minValue(least, `a whole number of at least ${least}`),
    v.maxValue(2 ** 40),
  );
const real = (least: number) =>
  v.pipe(v.number(), v.finite("a finite number"), v.minValue(least, `a number of at least ${least}`));

/** What decides a run's weights, bit for bit. Saved with every checkpoint; a resumed run keeps it. */
const trajectory = {
  data: v.string(),
  val: v.string(),
  tokenizer: v.string(),
  init: v.string(),
  batch: count(1),
  accumulate: count(1),
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
  device: v.picklist(["auto", "wasm"], "there is no such backend: use auto or wasm"),
  threads: v.pipe(count(1), v.maxValue(256)),
  world: v.picklist(["auto", "1"], "this version trains in one process: use 1"),
  minutes: v.pipe(real(0), v.gtValue(0)),
  evalEvery: count(1),
  logEvery: count(1),
  saveEvery: count(1),
  keep: count(1),
  dryRun: v.boolean(),
};

/** What shapes the model; the rest of its config comes from the preset, or from `--config`. */
const shape = {
  preset: v.string(),
  variant: v.picklist(VARIANTS),
  context: count(1),
};

const flagsSchema = v.partial(v.strictObject({ ...shape, ...trajectory, ...conduct }));
/** Flags as given, camelCase; absent where they weren't. */
export type Flags = v.InferOutput<typeof flagsSchema> & { config?: string };

type Values<T extends v.ObjectEntries> = v.InferOutput<v.ObjectSchema<T, undefined>>;
/** `data`, `val`, `tokenizer` and `init` may be absent. */
export type Trajectory = Omit<Values<typeof trajectory>, "data" | "val" | "tokenizer" | "init"> &
  Partial<Pick<Values<typeof trajectory>, "data" | "val" | "tokenizer" | "init">>;
export type Conduct = Omit<Values<typeof conduct>, "out" | "threads" | "minutes"> &
  Partial<Pick<Values<typeof conduct>, "out" | "threads" | "minutes">>;

export interface Settings {
  preset: string;
  model: ModelConfig;
  trajectory: Trajectory;
  conduct: Conduct;
}

/** A preset's own way of training, where it differs. `tiny` is the quick start: under four minutes on two cores. */
const TRAINING: Record<string, Partial<Trajectory>> = {
  tiny: { batch: 16, steps: 700, lr: 4e-3, warmup: 40 },
  nano: { batch: 8, steps: 5000, lr: 1.5e-3, warmup: 150 },
  small: { batch: 1, accumulate: 8 },
};

const modelKeys = [
  "vocab_size",
  "n_signals",
  "top_k",
  "d_model",
  "n_layers",
  "n_heads",
  "n_kv_heads",
  "d_ff",
  "context",
];
const MODEL_KEYS = new Set([...modelKeys, "variant", "rope_theta"]);

/** @throws ReflowError `usage` naming the flag or key, what was found and what was expected */
export function checkFlags(values: Record<string, unknown>, where: (key: string) => string): Flags {
  const { config, ...rest } = values;
  const result = v.safeParse(flagsSchema, rest);
  if (result.success) return { ...result.output, config: config as string | undefined };
  const issue = result.issues[0];
  const key = String(issue.path?.[0]?.key);
  const known = [...Object.keys(flagsSchema.entries), ...MODEL_KEYS];
  if (issue.type === "strict_object") {
    throw new ReflowError("usage", `${where(key)} is unknown`, `did you mean ${closest(key, known)}?`);
  }
  const expected = issue.expected?.replaceAll('"', "") ?? "";
  const what = issue.message.startsWith("Invalid") ? `expected ${expected}` : issue.message;
  throw new ReflowError("usage", `${where(key)} is ${JSON.stringify(rest[key])}`, what);
}

export const flagName = (key: string) => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/**
 * Everything a run needs to know: the preset, over it the `--config` file, over that the flags.
 *
 * @param inherited the model of `--init`, which takes the preset's place
 * @throws ReflowError `usage` or `config`
 */
export function resolveSettings(flags: Flags, inherited?: ModelConfig): Settings {
  const file = flags.config === undefined ? { settings: {}, model: {} } : readConfigFile(flags.config);
  const given: Flags = { ...file.settings, ...flags };
  const preset = given.preset ?? "tiny";
  if (!Object.hasOwn(PRESETS, preset)) {
    const help = `did you mean ${closest(preset, Object.keys(PRESETS))}? There are ${Object.keys(PRESETS).join(", ")}`;
    throw new ReflowError("usage", `preset "${preset}" is unknown`, help);
  }
  const base: PartialConfig = inherited ?? { ...PRESETS[preset], ...vocabularyOf(given.tokenizer) };
  const model = resolveConfig({ ...base, ...file.model }, { variant: given.variant, context: given.context });
  const training = {
    batch: 8,
    accumulate: 1,
    steps: 10_000,
    lr: 6e-4,
    ...TRAINING[preset],
    ...pick(trajectory, given),
  };
  const { steps, lr } = training;
  return {
    preset,
    model,
    trajectory: {
      minLr: lr / 10,
      schedule: "cosine",
      warmup: Math.min(200, Math.ceil(steps / 20)),
      weightDecay: 0.1,
      gradClip: 1,
      order: "shuffled",
      basisInit: "orthogonal",
      seed: 1337,
      ...training,
    },
    conduct: {
      resume: false,
      device: "auto",
      world: "auto",
      evalEvery: Math.max(1, Math.round(steps / 10)),
      logEvery: 10,
      saveEvery: Math.max(1, Math.round(steps / 5)),
      keep: 2,
      dryRun: false,
      ...pick(conduct, given),
    },
  };
}

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
function readConfigFile(path: string): { settings: Flags; model: PartialConfig } {
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
  const settings = Object.fromEntries(entries.filter((entry) => !isModel(entry)));
  return {
    settings: checkFlags(settings, (key) => `--config ${path}: ${key}`),
    model: Object.fromEntries(entries.filter(isModel)) as PartialConfig,
  };
}

/** Flags that a resumed run may give anew: the rest of its trajectory is as saved. */
const RESUMABLE = new Set(["steps"]);

/**
 * The settings of a resumed run: its own, and how it is carried out from now on.
 *
 * @throws ReflowError `usage` for a flag that would make it another run
 */
export function resumeSettings(
  flags: Flags,
  saved: Pick<Settings, "preset" | "model" | "trajectory">,
): Settings {
  const { model, trajectory: before } = saved;
  const kept = { preset: saved.preset, variant: model.variant, context: model.context, ...before };
  const file = flags.config === undefined ? undefined : readConfigFile(flags.config);
  const given: Flags = { ...file?.settings, ...flags };
  for (const [key, value] of Object.entries({
    ...pick({ ...shape, ...trajectory }, given),
    ...file?.model,
  })) {
    const now = { ...model, ...kept }[key as keyof typeof kept];
    if (RESUMABLE.has(key) || Object.is(now, value)) continue;
    throw new ReflowError(
      "usage",
      `${flagName(key)} ${value} is not the run's, which is ${now ?? "not set"}`,
      "leave it out to resume, or start another run with --init and another --out",
    );
  }
  const steps = given.steps ?? before.steps;
  const resolved = resolveSettings({ ...pick(conduct, given), steps });
  return { ...saved, trajectory: { ...before, steps }, conduct: resolved.conduct };
}
