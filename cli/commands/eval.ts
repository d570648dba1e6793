import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
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
    .summary("Measure a model's loss, perplexity and bits per byte on a text.")
    .description(
      "Measure a model's loss, perplexity and bits per byte on a text. Its documents are separated by lines with " +
        'nothing but <|endoftext|>; in JSONL each line is one, an object with a "text". Each is read after that ' +
        "token. Those between documents are predicted, and count as tokens but not as bytes.",
    )
    .argument("<checkpoint>", CHECKPOINT)
    .option(
      "--text <path>",
      "text, JSONL, folder of .txt, or - for stdin (the checkpoint's, or what the default corpus holds out)",
    )
    .option("--stride <n>", "tokens between windows of the context; fewer see more (half)", count(1))
    .option("--weights <type>", "f32 or int8 (what the checkpoint has)", oneOf(["f32", "int8"]))
    .option("--json", "one JSON object")
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
    throw new ReflowError("numerics", `the loss is ${loss}`, "the weights hold values that are not finite");
  }
  const perplexity = Math.exp(loss);
  const bitsPerByte = (loss * tokens) / Math.LN2 / bytes;
  if (json) {
    console.log(JSON.stringify({ loss, perplexity, bitsPerByte, tokens, bytes, documents }));
    return;
  }
  console.log(`loss           ${loss.toFixed(4)} nats a token
perplexity     ${perplexity.toFixed(2)}
bits per byte  ${bitsPerByte.toFixed(4)}
tokens         ${format(tokens)}
bytes          ${format(bytes)}
documents      ${format(documents)}`);
}
