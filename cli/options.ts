import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import { closest } from "fastest-levenshtein";
import { type DeviceName, isDeviceName } from "../runtime/backend/contract/device-name.ts";
import { ReflowError } from "../runtime/common/errors.ts";
import { number } from "../runtime/host/command.ts";
import { type GenePatch, parsePatch } from "../runtime/patches/patch.ts";
import { asData } from "../trainer/data/files.ts";

/** What every command that takes a checkpoint says of it. */
export const CHECKPOINT = "a checkpoint's folder, or a run's for its newest";

/** For flags that take a whole number from `least` on. */
export function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`A whole number from ${least} on was expected.`);
  };
}

/** For flags that take one of some names. */
export function oneOf<T extends string>(names: readonly T[]) {
  return (text: string): T => {
    const name = names.find((each) => each === text);
    if (name) return name;
    throw new InvalidArgumentError(`Did you mean ${closest(text, names)}? There are ${names.join(", ")}.`);
  };
}

/** For `--device`. */
export function device(text: string): DeviceName {
  if (isDeviceName(text)) return text;
  throw new InvalidArgumentError("Use auto, wasm, webgpu, or webgpu:N of those that `devices` lists.");
}

/** What a command that runs a model says of where: {@link LoadModelOptions} of the same names. */
export function withDevice(command: Command): Command {
  return command
    .option("--device <name>", "auto, wasm, webgpu, webgpu:N (auto: a GPU where there is one)", device)
    .option("--precision <type>", "of a GPU's products: f32, f16 (f32)", oneOf(["f32", "f16"]))
    .option("--threads <n>", "of the CPU (every core)", number);
}

/** What a command that can run a patched model says of the patch: {@link PatchOptions}. */
export const withPatch = (command: Command): Command =>
  command.option("--patch <file>", "a gene patch to run the model with", readPatch);

/** @throws ReflowError `data` where there is no such file, `usage` where it is no patch */
export function readPatch(file: string): GenePatch {
  const text = asData(file, () => readFileSync(file, "utf8"));
  return parsePatch(parseJson(text, file, "make one with `bun run cli patch`"), file);
}

/**
 * JSON that is given as it stands, or as a file of it.
 *
 * @throws ReflowError `data` where there is no such file, `usage` where it isn't JSON
 */
export function readJson(flag: string, given: string, help: string): unknown {
  if (/^\s*[[{]/.test(given)) return parseJson(given, flag, help);
  return parseJson(
    asData(given, () => readFileSync(given, "utf8")),
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
