import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Command } from "commander";
import { bytes, spread } from "../shared/format.ts";
import { CHECKPOINT } from "../shared/options.ts";

export function quantizeCommand(): Command {
  return new Command("quantize")
    .summary("Quantise weights to int8.")
    .description("Quantise a checkpoint's weights to int8, in a file beside model.safetensors.")
    .argument("<checkpoint>", CHECKPOINT)
    .option("--json", "print one JSON object")
    .addHelpText("after", "\nExample: bun run cli quantize runs/tiny")
    .action(quantize);
}

async function quantize(path: string, { json }: { json?: boolean }): Promise<void> {
  const { WEIGHT_FILES } = await import("../../runtime/formats/checkpoint-tensors.ts");
  const { quantizeCheckpoint } = await import("../../runtime/formats/quantize.ts");
  const file = quantizeCheckpoint(path);
  const folder = dirname(file);
  const sizes = Object.values(WEIGHT_FILES).map((name) => ({
    name,
    bytes: statSync(join(folder, name)).size,
  }));
  const rows = sizes.map((each) => [each.name, bytes(each.bytes)] as const);
  console.log(json ? JSON.stringify({ folder, files: sizes }) : [folder, ...spread(rows)].join("\n"));
}
