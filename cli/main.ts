/** `bun run cli`: looks at models, runs them, measures them, and prepares data. */
import { Command } from "commander";
import { runCommand } from "../runtime/host/command.ts";
import { activationsCommand } from "./activations.ts";
import { benchCommand } from "./bench.ts";
import { dataCommand } from "./data.ts";
import { devicesCommand } from "./devices.ts";
import { evalCommand } from "./eval.ts";
import { explainCommand } from "./explain.ts";
import { exportPageCommand } from "./export-page.ts";
import { inspectCommand } from "./inspect.ts";
import { logitsCommand } from "./logits.ts";
import { patchCommand } from "./patch.ts";
import { probeCommand } from "./probe.ts";
import { quantizeCommand } from "./quantize.ts";
import { sampleCommand } from "./sample.ts";
import { steerCommand } from "./steer.ts";
import { timelapseCommand } from "./timelapse.ts";
import { tokenizeCommand } from "./tokenize.ts";

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
