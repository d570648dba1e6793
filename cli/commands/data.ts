import { Command } from "commander";
import { bytes, number, spread } from "../shared/format.ts";

interface DataOptions {
  out: string;
  val?: string;
  tokenizer: string;
  json?: boolean;
}

export function dataCommand(): Command {
  return new Command("data")
    .summary("Tokenize text for the trainer.")
    .description("Tokenize text into a folder that the trainer reads with --data.")
    .argument("<input>", "text file, JSONL file, or folder of .txt files")
    .requiredOption("--out <folder>", "output folder; prepared data in it is replaced")
    .requiredOption("--tokenizer <which>", "a tokenizer.json, gpt2, or bpe:N to train one of N tokens")
    .option("--val <path>", "validation text (default: about 1% of the input)")
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample: bun run cli data corpus/train --out data/corpus --tokenizer bpe:8192")
    .action(prepare);
}

async function prepare(input: string, { out, val, tokenizer, json }: DataOptions): Promise<void> {
  const { documentFiles } = await import("../../trainer/data/documents.ts");
  const { openPrepared, prepareData } = await import("../../trainer/data/prepare.ts");
  const { withBar } = await import("../../trainer/monitoring/display.ts");
  const text = {
    train: documentFiles(input),
    val: val === undefined ? undefined : documentFiles(val),
    tokenizer,
  };
  await withBar((onProgress) => prepareData(text, out, { onProgress }));
  const { meta } = openPrepared(out);
  if (json) {
    console.log(JSON.stringify({ out, ...meta }));
    return;
  }
  const split = (name: "train" | "val"): [string, string][] => [
    [name, `${number(meta[name].tokens)} tokens`],
    ["", `${number(meta[name].documents)} documents`],
    ["", bytes(meta[name].bytes)],
  ];
  const rows: [string, string][] = [
    ["vocabulary", `${number(meta.vocabSize)} tokens`],
    ...split("train"),
    ...split("val"),
  ];
  console.log([out, ...spread(rows)].join("\n"));
}
