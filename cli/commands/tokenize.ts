import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { note } from "../../runtime/host/command.ts";
import type { Tokenizer } from "../../runtime/text/tokenizer.ts";
import { number, tokenLabel } from "../shared/format.ts";

interface TokenizeOptions {
  file?: string;
  ids?: string[];
  tokenizer: string;
  json?: boolean;
}

export function tokenizeCommand(): Command {
  return new Command("tokenize")
    .summary("Encode text, or decode ids.")
    .description("Encode text into tokens and their ids, or decode ids into text.")
    .argument("[text]", "text to tokenize; <|endoftext|> in it is treated as plain text")
    .requiredOption("--tokenizer <which>", "a checkpoint folder, a tokenizer.json, or gpt2")
    .option("--file <file>", "tokenize a file, or stdin for -")
    .option("--ids <id...>", "decode these ids: 1 2 3 or [1,2,3]")
    .option("--json", "print one JSON object")
    .addHelpText("after", '\nExample: bun run cli tokenize "three kings" --tokenizer runs/tiny')
    .action(tokenize);
}

async function tokenize(text: string | undefined, options: TokenizeOptions): Promise<void> {
  const { file, ids: given, json } = options;
  if ([text, file, given].filter((input) => input !== undefined).length !== 1) {
    throw new ReflowError("usage", "expected exactly one input", "give one of: a text, --file, --ids");
  }
  const tokenizer = await openTokenizer(options.tokenizer);
  const ids = given ? parseIds(given) : tokenizer.encode(text ?? (await readText(file!)));
  // Decoding comes first, so that an invalid id is reported before anything is printed.
  const decoded = tokenizer.decode(ids);
  const bytes = Array.from(ids).reduce((sum, id) => sum + tokenizer.tokenBytes(id).length, 0);
  if (json) {
    const tokens = Array.from(ids, (id) => tokenizer.tokenText(id));
    const shown = { ids: Array.from(ids), tokens, count: ids.length, bytes };
    console.log(JSON.stringify(given ? { ...shown, text: decoded } : shown));
  } else if (given) {
    console.log(decoded);
  } else {
    const width = String(tokenizer.vocabSize - 1).length;
    for (const id of ids) console.log(`${String(id).padStart(width)}  ${tokenLabel(tokenizer, id)}`);
    note(`${number(ids.length)} tokens, ${number(bytes)} bytes`);
  }
}

/** Opens the tokenizer of a checkpoint or of prepared data if `which` is a folder, otherwise as the trainer's `--tokenizer`. */
async function openTokenizer(which: string): Promise<Tokenizer> {
  const { readTokenizer, resolveTokenizer } = await import("../../trainer/data/tokenizer-flag.ts");
  if (which === "gpt2") {
    const { withBar } = await import("../../trainer/monitoring/display.ts");
    return withBar((onProgress) => resolveTokenizer(which, undefined, { onProgress }));
  }
  if (!existsSync(which) || statSync(which).isFile()) return readTokenizer(which);
  if (existsSync(join(which, "tokenizer.json"))) return readTokenizer(join(which, "tokenizer.json"));
  const { resolveCheckpoint } = await import("../../runtime/formats/checkpoint.ts");
  return readTokenizer(join(resolveCheckpoint(which), "tokenizer.json"));
}

async function readText(file: string): Promise<string> {
  const { wrapFileErrors } = await import("../../runtime/host/files.ts");
  const bytes = wrapFileErrors(`--file ${file}`, () => readFileSync(file === "-" ? 0 : file));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const help = "pass UTF-8 text; iconv converts other encodings";
    throw new ReflowError("data", `--file ${file} is not UTF-8`, help, { cause });
  }
}

function parseIds(given: readonly string[]): Int32Array {
  const parts = given.flatMap((each) => each.split(/[\s,[\]]+/)).filter((part) => part !== "");
  const wrong = parts.find((part) => !/^\d{1,9}$/.test(part));
  if (wrong === undefined) return Int32Array.from(parts, Number);
  throw new ReflowError("usage", `--ids: "${wrong}" is not a token id`, "give integers: 1 2 3 or [1,2,3]");
}
