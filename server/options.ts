/** Command-line options of `bun run server` and `deno task server`. */
import { mkdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Argument, Command, InvalidArgumentError } from "commander";
import { type DeviceName, isDeviceName } from "../runtime/backend/contract/device-name.ts";
import { sqlite } from "../runtime/common/compatibility.ts";
import { ReflowError } from "../runtime/common/errors.ts";
import { heldOutOf } from "../runtime/formats/checkpoint.ts";
import { splitList } from "./context/services.ts";
import { originsOf } from "./middleware/cors.ts";
import { sqliteStore } from "./patches/sqlite.ts";
import { memoryStore, type TextStore } from "./patches/store.ts";

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

/** Folder of the bundled model. */
export const BUNDLED_MODEL = fileURLToPath(new URL("model", import.meta.url));

export function command(serve: (checkpoint: string, options: Options) => Promise<void>): Command {
  return new Command("bun run server")
    .description(
      "Serve a model over HTTP: OpenAI-compatible completions, steering, inspection, and the playground at /.",
    )
    .addArgument(
      new Argument("[checkpoint]", "checkpoint folder, or a run folder for its newest checkpoint").default(
        BUNDLED_MODEL,
        "the bundled small model",
      ),
    )
    .option("--host <address>", "address to listen on; 0.0.0.0 for all interfaces", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 for any free port", count(0), 8080)
    .option("--name <text>", "model name for clients (default: the folder's name)")
    .option(
      "--key <key>",
      "API key that clients must send; repeatable, comma-separated, or in REFLOW_KEYS",
      keys,
    )
    .option(
      "--cors <origin>",
      "origin allowed by CORS, such as https://example.org, or * for any; repeatable or comma-separated",
      origins,
      [],
    )
    .option(
      "--rate <n>",
      "requests per minute for each key, or for each address without keys (default: unlimited)",
      count(1),
    )
    .option(
      "--slots <n>",
      "sequences generated at once (default: as many as fit in 512 MiB, at most 64)",
      count(1),
    )
    .option("--queue <n>", "requests that may wait for a slot (default: 256)", count(0))
    .option(
      "--device <name>",
      "device: auto, wasm, webgpu, webgpu:N (default: auto, a GPU if available)",
      device,
    )
    .option("--precision <type>", "GPU matmul precision: f32 or f16 (default: f32)", precision)
    .option("--threads <n>", "CPU threads (default: all cores)", count(1))
    .option(
      "--text <file>",
      "held-out text for probes and for calibrating interventions (default: the checkpoint's held-out.txt)",
    )
    .option("--patches <file>", "SQLite file for saved gene patches", "runs/patches.sqlite")
    .addHelpText("after", "\nExample: bun run server runs/tiny --port 8000 --key secret")
    .action(serve);
}

/** API keys from the flag and the environment. @throws ReflowError `usage` for a key that a header cannot carry */
export function keysOf({ key = [] }: Options): string[] {
  const all = [...key, ...splitList(process.env.REFLOW_KEYS)];
  if (all.every((each) => /^[\x21-\x7e]+$/.test(each))) return all;
  const help = "use printable ASCII characters without spaces";
  throw new ReflowError("usage", "an API key has characters that an HTTP header cannot carry", help);
}

export function nameOf(checkpoint: string, { name }: Options): string {
  return name ?? (checkpoint === BUNDLED_MODEL ? "nano" : basename(checkpoint.replace(/\/+$/, "")));
}

/** The held-out text, if there is one. @throws ReflowError `data` if the file cannot be read */
export function textOf(checkpoint: string, { text = heldOutOf(checkpoint) }: Options): string | undefined {
  if (text === undefined) return undefined;
  try {
    return readFileSync(text, "utf8");
  } catch (cause) {
    throw new ReflowError("data", `cannot read ${text}: ${(cause as Error).message}`, "give a text file", {
      cause,
    });
  }
}

/** Opens the file of saved patches, creating it if necessary. @throws ReflowError `usage` if it cannot be opened */
export function openPatchFile({ patches }: Options): TextStore {
  if (!sqlite()) {
    process.stderr.write(
      `This version of Node.js has no node:sqlite (22.13 has): patches are lost when the server ends.\n`,
    );
    return memoryStore();
  }
  try {
    mkdirSync(dirname(join(patches)), { recursive: true });
    return sqliteStore(patches);
  } catch (cause) {
    const message = `cannot open ${patches}: ${(cause as Error).message}`;
    throw new ReflowError("usage", message, "give --patches the path of a writable file", { cause });
  }
}

function keys(text: string, previous: readonly string[] = []): string[] {
  const given = splitList(text);
  if (given.length === 0) throw new InvalidArgumentError("Expected an API key.");
  return [...previous, ...given];
}

function origins(text: string, previous: readonly string[]): string[] {
  return [...previous, ...originsOf(text)];
}

function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
  };
}

function device(text: string): DeviceName {
  if (isDeviceName(text)) return text;
  throw new InvalidArgumentError(
    "Use auto, wasm, webgpu, or webgpu:N with a device that `bun run cli devices` lists.",
  );
}

function precision(text: string): "f32" | "f16" {
  if (text === "f32" || text === "f16") return text;
  throw new InvalidArgumentError("Use f32 or f16.");
}
