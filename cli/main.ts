/** `bun run cli`: inspects, runs and measures models, and prepares training data. */
import { Command } from "commander";
import { runCommand } from "../runtime/host/command.ts";
import { activationsCommand } from "./commands/activations.ts";
import { benchCommand } from "./commands/bench.ts";
import { dataCommand } from "./commands/data.ts";
import { devicesCommand } from "./commands/devices.ts";
import { evalCommand } from "./commands/eval.ts";
import { explainCommand } from "./commands/explain.ts";
import { exportPageCommand } from "./commands/export-page.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { logitsCommand } from "./commands/logits.ts";
import { patchCommand } from "./commands/patch.ts";
import { probeCommand } from "./commands/probe.ts";
import { quantizeCommand } from "./commands/quantize.ts";
import { sampleCommand } from "./commands/sample.ts";
import { steerCommand } from "./commands/steer.ts";
import { timelapseCommand } from "./commands/timelapse.ts";
import { tokenizeCommand } from "./commands/tokenize.ts";

const commands = [
  inspectCommand(),
  sampleCommand(),
  steerCommand(),
  explainCommand(),
  patchCommand(),
  probeCommand(),
  timelapseCommand(),
  evalCommand(),
  logitsCommand(),
  activationsCommand(),
  tokenizeCommand(),
  dataCommand(),
  quantizeCommand(),
  exportPageCommand(),
  benchCommand(),
  devicesCommand(),
];

const program = new Command("bun run cli").description(
  "Inspect, run and measure reFlow models, and prepare training data. A model is given by its checkpoint folder.",
);
for (const command of commands) program.addCommand(command);

program.addHelpText(
  "after",
  "\nTo train a model: bun run trainer --help. To serve one: bun run server --help.",
);

await runCommand(program);
