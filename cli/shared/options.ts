import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { closest } from "fastest-levenshtein";
import { type DeviceName, isDeviceName } from "../../runtime/backend/contract/device-name.ts";
import { ReflowError } from "../../runtime/common/errors.ts";
import { number } from "../../runtime/host/command.ts";
import { wrapFileErrors } from "../../runtime/host/files.ts";
import { type GenePatch, parsePatch } from "../../runtime/patches/patch.ts";

/** Description of the argument `<checkpoint>`. */
export const CHECKPOINT = "checkpoint folder, or run folder (its newest checkpoint)";

/** Parses a flag's integer of at least `least`. */
export function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected an integer of at least ${least}.`);
  };
}

/** Parses a flag's value that must be one of `names`. */
export function oneOf<T extends string>(names: readonly T[]) {
  return (text: string): T => {
    const name = names.find((each) => each === text);
    if (name) return name;
    throw new InvalidArgumentError(`Did you mean ${closest(text, names)}? Choose from ${names.join(", ")}.`);
  };
}

/** Parses `--device`. */
export function device(text: string): DeviceName {
  if (isDeviceName(text)) return text;
  throw new InvalidArgumentError("Use auto, wasm, webgpu or webgpu:N (see `bun run cli devices`).");
}

/** Adds the flags of commands that run a model, named as in {@link LoadModelOptions}. */
export function withDevice(command: Command): Command {
  return command
    .option("--device <name>", "auto, wasm, webgpu or webgpu:N (default: auto, a GPU if available)", device)
    .option("--precision <type>", "GPU matmul precision: f32 or f16 (default: f32)", oneOf(["f32", "f16"]))
    .option("--threads <n>", "CPU threads (default: all cores)", number);
}

/** Adds `--patch`, read as in {@link PatchOptions}. */
export const withPatch = (command: Command): Command =>
  command.option("--patch <file>", "run the model with this gene patch", readPatch);

/** Adds the sampling flags, named as in {@link GenerateOptions}. */
export function withSampling(command: Command): Command {
  return command
    .option("--temperature <x>", "softmax temperature; 0 is greedy (default: 1)", number)
    .option("--top-k <n>", "keep the n most likely tokens; 0 keeps all (default: 0)", number)
    .option("--top-p <x>", "keep the fewest tokens whose probability reaches x (default: 1)", number)
    .option("--min-p <x>", "keep tokens at least x times as likely as the top one (default: 0)", number)
    .option("--repetition-penalty <x>", "penalty on tokens already in the text (default: 1)", number)
    .option("--stop <text...>", "stop before any of these texts")
    .option("--seed <n>", "random seed; reuse it to reproduce the text (default: random)", number);
}

/** @throws ReflowError `data` if the file cannot be read, `usage` if it is not a patch */
export function readPatch(file: string): GenePatch {
  const text = wrapFileErrors(file, () => readFileSync(file, "utf8"));
  return parsePatch(parseJson(text, file, "create one with `bun run cli patch`"), file);
}

/**
 * Reads a flag's value: JSON text, or the path of a file that holds it.
 *
 * @throws ReflowError `data` if the file cannot be read, `usage` if it is not JSON
 */
export function readJson(flag: string, given: string, help: string): unknown {
  if (/^\s*[[{]/.test(given)) return parseJson(given, flag, help);
  return parseJson(
    wrapFileErrors(given, () => readFileSync(given, "utf8")),
    `${flag} ${given}`,
    help,
  );
}

function parseJson(text: string, where: string, help: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ReflowError("usage", `${where}: ${(cause as Error).message}`, help, { cause });
  }
}
