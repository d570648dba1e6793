/** `bun run trainer`: trains a model, on a small real corpus where nothing else is said. */
import { Command, Option } from "commander";
import { PRESETS, VARIANTS } from "../runtime/config/config.ts";
import { number, numberOr, runCommand } from "../runtime/host/command.ts";
import { ORDERS } from "./data/sampler.ts";
import { SCHEDULES } from "./settings/schedule.ts";
import { readFlags } from "./settings/settings.ts";
import { start } from "./start.ts";

const command = new Command("trainer")
  .description(
    "Train a reFlow model. Without flags: a small one on real text, in a few minutes, on every core.",
  )
  .option("--preset <name>", `shape and defaults: ${Object.keys(PRESETS).join(", ")} (tiny)`)
  .option("--variant <name>", `architecture: ${VARIANTS.join(", ")}`)
  .option("--config <file>", 'JSON of model keys and flags: {"d_model": 192, "lr": 1e-3}; flags win over it')
  .option(
    "--data <path>",
    "text, JSONL, folder of .txt, prepared tokens or .bin (a corpus that is fetched once)",
  )
  .option("--val <path>", "validation data (about 1% of --data)")
  .option("--tokenizer <which>", "tokenizer.json, gpt2, or bpe:N to train one of N tokens (bpe:vocabulary)")
  .option("--out <folder>", "where checkpoints and metrics.jsonl go (runs/PRESET)")
  .option("--init <checkpoint>", "begin with these weights")
  .option("--resume", "go on from the newest checkpoint in --out")
  .option("--device <name>", "auto, wasm, webgpu, webgpu:N (auto: a GPU where there is one)")
  .option("--precision <type>", "of a GPU's products: f32, f16 (f32)")
  .option("--threads <n>", "of the CPU (every core, shared out over the ranks)", number)
  .option("--world <n>", "ranks, each a process: auto or a number (auto: one for each GPU)", numberOr("auto"))
  .option("--collective <name>", "how ranks sum gradients: shared, mpi (auto: mpi under an MPI launcher)")
  .option("--wire <type>", "how MPI carries them: f32, bf16 (f32)")
  .option("--local-steps <h>", "let ranks meet every h steps only, as DiLoCo does", number)
  .option("--deadline <seconds>", "longest wait for another rank (shared 60, mpi 600)", number)
  .option("--batch <n>", "sequences of a micro-batch, on each rank", number)
  .option("--context <n>", "tokens of a sequence", number)
  .option("--accumulate <n>", "micro-batches of a step, on each rank (1)", number)
  .option("--steps <n>", "optimizer steps: the schedule's horizon", number)
  .option("--minutes <n>", "stop after this long, schedule unchanged", number)
  .option("--lr <x>", "peak learning rate", number)
  .option("--min-lr <x>", "last learning rate (lr/10)", number)
  .addOption(new Option("--schedule <name>", `${SCHEDULES.join(", ")} (cosine)`))
  .option("--warmup <n>", "steps of linear warm-up", number)
  .option("--weight-decay <x>", "on matrices (0.1)", number)
  .option("--grad-clip <x>", "global norm; 0 is off (1)", number)
  .addOption(new Option("--order <name>", `of the data: ${ORDERS.join(", ")} (shuffled)`))
  .option("--basis-init <name>", "orthogonal, normal (orthogonal)")
  .option("--seed <n>", "of weights and order (1337)", number)
  .option("--eval-every <n>", "steps between evaluations", number)
  .option("--log-every <n>", "steps between lines of metrics.jsonl (10)", number)
  .option("--watch <words>", "log their recipes and neighbours at each evaluation: king,queen,three")
  .option("--save-every <n>", "steps between checkpoints", number)
  .option("--keep <n>", "checkpoints kept (2)", number)
  .option("--dry-run", "say what would be trained, and stop")
  .allowExcessArguments(false)
  .action((options) => start(readFlags(options)));

await runCommand(command);
