/** `bun run cli`: looks at models, runs them, measures them, and prepares data. */
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
  "Look at reFlow models, run them, measure them, and prepare data. A model is a checkpoint's folder.",
);
for (const command of commands) program.addCommand(command);

await runCommand(program);
