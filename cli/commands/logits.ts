import { readFileSync } from "node:fs";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import { spread } from "../shared/format.ts";
import { CHECKPOINT, withDevice } from "../shared/options.ts";
import { checkOutputFile } from "../shared/output.ts";

interface LogitsOptions extends LoadModelOptions {
  ids: string;
  out: string;
  hidden?: boolean;
  json?: boolean;
}

export function logitsCommand(): Command {
  const command = new Command("logits")
    .summary("Save logits of token ids.")
    .description("Run a model on token ids and save its logits.")
    .argument("<checkpoint>", CHECKPOINT)
    .requiredOption("--ids <file>", "JSON file: a list of sequences of equal length, [[…],…]")
    .requiredOption("--out <file>", "safetensors file to write (replaced if it exists): logits (B,T,V)")
    .option(
      "--hidden",
      "also save hidden.0 … hidden.LAYERS (B,T,d): the inputs of each block and of the final norm",
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      "\nExample: echo '[[1,2,3]]' > ids.json && bun run cli logits runs/tiny --ids ids.json --out out.safetensors",
    )
    .action(logits);
  return withDevice(command);
}

async function logits(
  path: string,
  { ids: idsPath, out, hidden, json, ...on }: LogitsOptions,
): Promise<void> {
  const { discard, replaceDurably, temporary } = await import("../../runtime/formats/disk.ts");
  const { createTensorFile } = await import("../../runtime/formats/tensor-file.ts");
  const { checkIds } = await import("../../runtime/transformer/inference.ts");
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { wrapFileErrors } = await import("../../runtime/host/files.ts");
  const sequences = parseIds(
    idsPath,
    wrapFileErrors(idsPath, () => readFileSync(idsPath, "utf8")),
  );
  checkOutputFile(out);
  using model = await loadModel(path, on);
  const { n_layers: L, d_model: d, vocab_size: V } = model.config;
  for (const sequence of sequences) checkIds(model.config, sequence);

  const [B, T] = [sequences.length, sequences[0].length];
  const hooks = hidden ? residuals(L) : [];
  const entries = [
    { name: "logits", dtype: "F32" as const, shape: [B, T, V] },
    ...hooks.map((_, l) => ({ name: `hidden.${l}`, dtype: "F32" as const, shape: [B, T, d] })),
  ];
  // Residuals by sequence and hook. Logits, which are far larger, are written to disk as soon as they are computed.
  const states: Float32Array[][] = [];
  const draft = temporary(out);
  const file = createTensorFile(draft, entries);
  try {
    for (const sequence of sequences) {
      const cache = await model.runWithCache(sequence, { namesFilter: [...hooks, "hook_logits"] });
      file.write("logits", cache.get("hook_logits")!.data);
      states.push(hooks.map((hook) => cache.get(hook)!.data));
    }
    for (const l of hooks.keys()) for (const each of states) file.write(`hidden.${l}`, each[l]);
    file.close();
    replaceDurably(draft, out);
  } catch (error) {
    file.abort();
    discard(draft);
    throw error;
  }
  const rows = entries.map(({ name, shape }) => [name, shape.join("×")] as const);
  console.log(json ? JSON.stringify({ out, tensors: entries }) : [out, ...spread(rows)].join("\n"));
}

/** Hook points of the residual stream before each block and after the last. */
const residuals = (layers: number): string[] => [
  ...Array.from({ length: layers }, (_, l) => `blocks.${l}.hook_resid_pre`),
  `blocks.${layers - 1}.hook_resid_post`,
];

function parseIds(path: string, text: string): number[][] {
  const help = "give a list of sequences of equal length: [[1,2,3],[4,5,6]]";
  const wrong = (what: string, cause?: unknown) =>
    new ReflowError("data", `${path}: ${what}`, help, { cause });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw wrong((cause as Error).message, cause);
  }
  if (!Array.isArray(json) || json.length === 0) throw wrong("not a list of sequences");
  for (const [b, sequence] of json.entries()) {
    if (!Array.isArray(sequence) || !sequence.every((id) => typeof id === "number")) {
      throw wrong(`sequence ${b} is not a list of numbers`);
    }
    if (sequence.length !== json[0].length) {
      throw wrong(`sequence ${b} has ${sequence.length} ids, sequence 0 has ${json[0].length}`);
    }
  }
  return json;
}
