import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import type { HostTensor } from "../../runtime/model/model.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import { hookNames, resolveHookNames } from "../../runtime/transformer/hooks.ts";
import { spread } from "../shared/format.ts";
import { CHECKPOINT, count, withDevice } from "../shared/options.ts";
import { checkOutputFile } from "../shared/output.ts";

interface ActivationsOptions extends LoadModelOptions {
  prompt: string;
  names: string;
  maxTokens?: number;
  out?: string;
  json?: boolean;
}

export function activationsCommand(): Command {
  const command = new Command("activations")
    .summary("Save activations of a prompt.")
    .description(
      "Save the activations of a prompt, and optionally of its greedy continuation, at any hook points.",
    )
    .argument("<checkpoint>", CHECKPOINT)
    .requiredOption("--prompt <text>", "text to run the model on")
    .requiredOption("--names <list>", "comma-separated hook points; * matches any characters")
    .option("--max-tokens <n>", "tokens to generate after the prompt (default: 0)", count(0))
    .option("--out <file>", "safetensors file to write (replaced if it exists): F32, shape (1,T,…)")
    .option("--json", "print the activations as one JSON object instead")
    .addHelpText(
      "after",
      `
Example: bun run cli activations runs/tiny --prompt "The people" \\
  --names "hook_signals,blocks.*.hook_resid_post" --out activations.safetensors`,
    )
    .action(activations);
  return withDevice(command);
}

async function activations(
  path: string,
  { prompt, names, maxTokens = 0, out, json, ...on }: ActivationsOptions,
): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  if (prompt === "") throw new ReflowError("usage", "--prompt is empty", "give the text to run the model on");
  if ((out === undefined) === (json !== true)) {
    throw new ReflowError("usage", "expected exactly one of --out and --json", "give --out FILE or --json");
  }
  if (out !== undefined) checkOutputFile(out);
  using model = await loadModel(path, on);
  const namesFilter = names.split(",").flatMap((name) => hookPoints(model.config, name.trim()));
  const ids = [...model.tokenize(prompt)];
  if (maxTokens > 0) {
    for await (const event of model.generate([...ids], { maxTokens, temperature: 0 })) {
      if (event.type === "token") ids.push(event.id);
    }
  }
  const cache = await model.runWithCache(ids, { namesFilter });
  const about = { prompt, text: model.tokenizer.decode(ids), ids };
  if (out === undefined) {
    const found = Array.from(cache, ([name, { shape, data }]) => [name, { shape, data: [...data] }]);
    console.log(JSON.stringify({ ...about, activations: Object.fromEntries(found) }));
    return;
  }
  await write(out, cache, about);
  const rows = Array.from(cache, ([name, { shape }]) => [name, shape.join("×")] as const);
  console.log([out, ...spread(rows)].join("\n"));
}

/** Expands a hook name, or a pattern with `*`, into hook points. */
function hookPoints(config: ModelConfig, name: string): string[] {
  if (!name.includes("*")) return resolveHookNames(config, name);
  const pattern = new RegExp(`^${name.split("*").map(escapeRegExp).join(".*")}$`);
  const found = hookNames(config).filter((each) => pattern.test(each));
  if (found.length > 0) return found;
  throw new ReflowError(
    "usage",
    `no hook point matches ${name}`,
    `choose from ${hookNames(config).join(", ")}`,
  );
}

const escapeRegExp = (text: string): string => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");

async function write(
  out: string,
  cache: ReadonlyMap<string, HostTensor>,
  about: { prompt: string; text: string; ids: number[] },
): Promise<void> {
  const { discard, replaceDurably, temporary } = await import("../../runtime/formats/disk.ts");
  const { createTensorFile } = await import("../../runtime/formats/tensor-file.ts");
  const entries = Array.from(cache, ([name, { shape }]) => ({ name, dtype: "F32" as const, shape }));
  const metadata = { prompt: about.prompt, text: about.text, ids: JSON.stringify(about.ids) };
  const draft = temporary(out);
  const file = createTensorFile(draft, entries, metadata);
  try {
    for (const [name, { data }] of cache) file.write(name, data);
    file.close();
    replaceDurably(draft, out);
  } catch (error) {
    file.abort();
    discard(draft);
    throw error;
  }
}
