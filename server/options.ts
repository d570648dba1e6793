/** What `bun run server` and `deno task server` take. */
import { mkdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { type DeviceName, isDeviceName } from "../runtime/backend/contract/device-name.ts";
import { ReflowError } from "../runtime/common/errors.ts";
import { heldOutOf } from "../runtime/formats/checkpoint.ts";
import { originsOf } from "./middleware/cors.ts";
import { sqliteTexts } from "./patches/sqlite.ts";
import type { Texts } from "./patches/store.ts";
import { listOf } from "./services.ts";

export interface Options {
  host: string;
  port: number;
  name?: string;
  key?: string[];
  cors: string[];
  rate?: number;
  slots?: number;
  queue?: number;
  device?: DeviceName;
  precision?: "f32" | "f16";
  threads?: number;
  text?: string;
  patches: string;
}

/** The model that ships. */
export const SHIPPED = fileURLToPath(new URL("model", import.meta.url));

export function command(serve: (checkpoint: string, options: Options) => Promise<void>): Command {
  return new Command("server")
    .description("Serve a model over HTTP: OpenAI's completions, steering, reading, and the playground at /.")
    .argument(
      "[checkpoint]",
      "a checkpoint's folder, or a run's for its newest (the small model that ships)",
      SHIPPED,
    )
    .option("--host <address>", "to listen on; 0.0.0.0 for every one", "127.0.0.1")
    .option("--port <n>", "0 for any that is free", count(0), 8080)
    .option("--name <text>", "what clients call the model (the folder's name)")
    .option(
      "--key <key>",
      "a client's: each request then needs one; may be given again, or with commas, or as REFLOW_KEYS",
      keys,
    )
    .option(
      "--cors <origin>",
      "whose pages may ask: https://example.org, or *; may be given again, or with commas",
      origins,
      [],
    )
    .option("--rate <n>", "requests a minute, of each key or address (no limit)", count(1))
    .option("--slots <n>", "sequences at once (what 512 MiB hold, 64 at most)", count(1))
    .option("--queue <n>", "requests that wait for a slot (256)", count(0))
    .option("--device <name>", "auto, wasm, webgpu, webgpu:N (auto: a GPU where there is one)", device)
    .option("--precision <type>", "of a GPU's products: f32, f16 (f32)", precision)
    .option("--threads <n>", "of the CPU (every core)", count(1))
    .option(
      "--text <file>",
      "held-out text, that probes read and interventions are measured on (the checkpoint's held-out.txt)",
    )
    .option("--patches <file>", "where named gene patches are kept", "runs/patches.sqlite")
    .addHelpText("after", "\nExample: bun run server runs/tiny --port 8000 --key secret")
    .action(serve);
}

/** Of the flag and of the environment. @throws ReflowError `usage` for what no header could bring along */
export function keysOf({ key = [] }: Options): string[] {
  const all = [...key, ...listOf(process.env.REFLOW_KEYS)];
  if (all.every((each) => /^[\x21-\x7e]+$/.test(each))) return all;
  const help = "use letters, digits and signs of ASCII";
  throw new ReflowError("usage", "a key has characters that no header can bring along", help);
}

export function nameOf(checkpoint: string, { name }: Options): string {
  return name ?? (checkpoint === SHIPPED ? "nano" : basename(checkpoint.replace(/\/+$/, "")));
}

/** @throws ReflowError `data` where it can't be read */
export function textOf(checkpoint: string, { text = heldOutOf(checkpoint) }: Options): string | undefined {
  if (text === undefined) return undefined;
  try {
    return readFileSync(text, "utf8");
  } catch (cause) {
    throw new ReflowError("data", `${text} can't be read: ${(cause as Error).message}`, "give a text file", {
      cause,
    });
  }
}

/** What is kept in the file, which is made where it isn't there. @throws ReflowError `usage` where it can't be */
export function keptIn({ patches }: Options): Texts {
  try {
    mkdirSync(dirname(join(patches)), { recursive: true });
    return sqliteTexts(patches);
  } catch (cause) {
    const message = `${patches} can't be opened: ${(cause as Error).message}`;
    throw new ReflowError("usage", message, "give --patches a file that may be written", { cause });
  }
}

function keys(text: string, before: readonly string[] = []): string[] {
  const given = listOf(text);
  if (given.length === 0) throw new InvalidArgumentError("A key was expected.");
  return [...before, ...given];
}

function origins(text: string, before: readonly string[]): string[] {
  return [...before, ...originsOf(text)];
}

function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`A whole number from ${least} on was expected.`);
  };
}

function device(text: string): DeviceName {
  if (isDeviceName(text)) return text;
  throw new InvalidArgumentError(
    "Use auto, wasm, webgpu, or webgpu:N of those that `bun run cli devices` lists.",
  );
}

function precision(text: string): "f32" | "f16" {
  if (text === "f32" || text === "f16") return text;
  throw new InvalidArgumentError("Use f32 or f16.");
}
