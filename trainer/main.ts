/** `bun run trainer`: trains a model, by default on a small corpus of real text. */
import { Command, Option } from "commander";
import { VARIANTS } from "../runtime/config/config.ts";
import { PRESETS } from "../runtime/config/presets.ts";
import { number, numberOr, runCommand } from "../runtime/host/command.ts";
import { ORDERS } from "./data/sampler.ts";
import { SCHEDULES } from "./settings/schedule.ts";
import { readFlags } from "./settings/settings.ts";
import { start } from "./start.ts";

const command = new Command("bun run trainer")
  .description(
    "Train a reFlow model. Without flags: a small model on real text, in a few minutes, on all cores.",
  )
  .option("--preset <name>", `model shape and defaults: ${Object.keys(PRESETS).join(", ")} (default: tiny)`)
  .option("--variant <name>", `architecture: ${VARIANTS.join(", ")}`)
  .option(
    "--config <file>",
    'JSON file of model keys and flags: {"d_model": 192, "lr": 1e-3}; flags take precedence',
  )
  .option(
    "--data <path>",
    "text, JSONL, folder of .txt, prepared tokens or .bin (default: a corpus, downloaded once)",
  )
  .option("--val <path>", "validation data (default: about 1% of --data)")
  .option(
    "--tokenizer <which>",
    "tokenizer.json, gpt2, or bpe:N to train one with N tokens (default: gpt2 if it fits the vocabulary, else bpe:VOCABULARY)",
  )
  .option("--out <folder>", "folder for checkpoints and metrics.jsonl (default: runs/PRESET)")
  .option("--init <checkpoint>", "start from these weights")
  .option("--resume", "continue from the newest checkpoint in --out")
  .option("--device <name>", "auto, wasm, webgpu, webgpu:N (default: auto, a GPU if available)")
  .option("--precision <type>", "GPU matmul precision: f32, f16 (default: f32)")
  .option("--threads <n>", "CPU threads per rank (default: all cores, divided between the ranks)", number)
  .option(
    "--world <n>",
    "number of ranks, one process each, or auto (default: auto, one per GPU)",
    numberOr("auto"),
  )
  .option("--collective <name>", "all-reduce: auto, shared, mpi (default: auto, mpi under an MPI launcher)")
  .option("--wire <type>", "data type of MPI messages: f32, bf16 (default: f32)")
  .option("--local-steps <h>", "synchronize ranks only every h steps (DiLoCo)", number)
  .option("--deadline <seconds>", "longest wait for another rank (default: 60; with mpi, 600)", number)
  .option("--batch <n>", "sequences per micro-batch, on each rank", number)
  .option("--context <n>", "tokens per sequence", number)
  .option("--accumulate <n>", "micro-batches per step, on each rank (default: 1)", number)
  .option("--steps <n>", "optimizer steps, the horizon of the schedule", number)
  .option("--minutes <n>", "stop after this time; the schedule is unchanged", number)
  .option("--lr <x>", "peak learning rate", number)
  .option("--min-lr <x>", "final learning rate (default: lr/10)", number)
  .addOption(
    new Option("--schedule <name>", `learning-rate schedule: ${SCHEDULES.join(", ")} (default: cosine)`),
  )
  .option("--warmup <n>", "steps of linear warm-up", number)
  .option("--weight-decay <x>", "weight decay of matrices (default: 0.1)", number)
  .option("--grad-clip <x>", "largest global gradient norm; 0 disables clipping (default: 1)", number)
  .addOption(new Option("--order <name>", `order of the data: ${ORDERS.join(", ")} (default: shuffled)`))
  .option("--basis-init <name>", "initialization of the basis: orthogonal, normal (default: orthogonal)")
  .option("--seed <n>", "random seed of weights and data order (default: 1337)", number)
  .option("--eval-every <n>", "steps between evaluations", number)
  .option("--log-every <n>", "steps between lines of metrics.jsonl (default: 10)", number)
  .option(
    "--watch <words>",
    "log the recipes and neighbours of these words at each evaluation: king,queen,three",
  )
  .option("--save-every <n>", "steps between checkpoints", number)
  .option("--keep <n>", "checkpoints to keep (default: 2)", number)
  .option("--dry-run", "print what would be trained, then exit")
  .allowExcessArguments(false)
  .action((options) => start(readFlags(options)));

await runCommand(command);
