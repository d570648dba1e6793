import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { WEIGHT_FORMATS } from "../../runtime/formats/checkpoint-tensors.ts";
import type { LoadModelOptions } from "../../runtime/model/read.ts";
import type { PatchOptions } from "../../runtime/patches/apply.ts";
import { encodeDocuments, evaluationFiles } from "../shared/documents.ts";
import { number as format } from "../shared/format.ts";
import { CHECKPOINT, count, oneOf, withDevice, withPatch } from "../shared/options.ts";

interface EvalOptions extends LoadModelOptions, PatchOptions {
  text?: string;
  stride?: number;
  json?: boolean;
}

export function evalCommand(): Command {
  const command = new Command("eval")
    .summary("Measure loss and perplexity.")
    .description(
      "Measure a model's loss, perplexity and bits per byte on a text. Documents are separated by lines that " +
        'contain only <|endoftext|>; in JSONL, each line is a document, an object with a "text" field. Each document is ' +
        "preceded by that token. Separators between documents are predicted and count as tokens, but not as bytes.",
    )
    .argument("<checkpoint>", CHECKPOINT)
    .option(
      "--text <path>",
      "text file, JSONL file, folder of .txt files, or - for stdin (default: the checkpoint's held-out text, otherwise the " +
        "default corpus's)",
    )
    .option(
      "--stride <n>",
      "tokens between windows; smaller strides give each token more context (default: half the context)",
      count(1),
    )
    .option("--weights <type>", "f32 or int8 (default: the checkpoint's)", oneOf(WEIGHT_FORMATS))
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample: bun run cli eval runs/tiny --text book.txt")
    .action(evaluate);
  return withDevice(withPatch(command));
}

async function evaluate(path: string, { text, stride, patch, json, ...on }: EvalOptions): Promise<void> {
  const { loadModel } = await import("../../runtime/model/load.ts");
  const { withBar } = await import("../../trainer/monitoring/display.ts");
  const { readDocuments } = await import("../../trainer/data/documents.ts");
  const result = await withBar(async (onProgress) => {
    const files = await evaluationFiles(text, path, (done, of) => onProgress("download", done, of));
    using model = await loadModel(path, on);
    const { ids, bytes, documents } = encodeDocuments(model.tokenizer, readDocuments(files));
    const { loss, tokens } = await model.evaluate(ids, {
      stride,
      patch,
      onProgress: (done, of) => onProgress("evaluate", done, of),
    });
    return { loss, tokens, bytes, documents };
  });
  const { loss, tokens, bytes, documents } = result;
  if (!Number.isFinite(loss)) {
    throw new ReflowError(
      "numerics",
      `the loss is ${loss}`,
      "the weights contain values that are not finite",
    );
  }
  const perplexity = Math.exp(loss);
  const bitsPerByte = (loss * tokens) / Math.LN2 / bytes;
  if (json) {
    console.log(JSON.stringify({ loss, perplexity, bitsPerByte, tokens, bytes, documents }));
    return;
  }
  console.log(`loss           ${loss.toFixed(4)} nats per token
perplexity     ${perplexity.toFixed(2)}
bits per byte  ${bitsPerByte.toFixed(4)}
tokens         ${format(tokens)}
bytes          ${format(bytes)}
documents      ${format(documents)}`);
}
