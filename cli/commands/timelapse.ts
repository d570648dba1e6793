import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { wrapFileErrors } from "../../runtime/host/files.ts";
import { readLines } from "../../trainer/monitoring/metrics.ts";
import { WATCH_FILE, type WatchLine } from "../../trainer/monitoring/watch.ts";
import { checkOutputFile } from "../shared/output.ts";

export function timelapseCommand(): Command {
  return new Command("timelapse")
    .summary("Show how words formed in training.")
    .description(
      "Write a page that shows how the recipes and neighbours of watched words formed during training.",
    )
    .argument("<run>", "folder of a run trained with --watch")
    .option(
      "--out <file>",
      "HTML file to write, replaced if it exists (default: timelapse.html in the run folder)",
    )
    .addHelpText(
      "after",
      `
Example: bun run trainer --watch king,queen,three --eval-every 50 --out runs/watched
Then:    bun run cli timelapse runs/watched`,
    )
    .action(timelapse);
}

async function timelapse(
  run: string,
  { out = join(run, "timelapse.html") }: { out?: string },
): Promise<void> {
  const { renderTimelapse } = await import("../report/timelapse.ts");
  const { writeFiles } = await import("../shared/output.ts");
  const file = join(run, WATCH_FILE);
  if (!existsSync(file)) {
    throw new ReflowError("data", `${file}: no such file`, "train with --watch, and give the run's folder");
  }
  const lines = wrapFileErrors(file, () => readLines<WatchLine>(file));
  if (lines.length === 0) {
    throw new ReflowError("data", `${file} is empty`, "wait for the run's first evaluation");
  }
  checkOutputFile(out);
  writeFiles(dirname(out), { [basename(out)]: renderTimelapse(lines) });
  console.log(out);
}
