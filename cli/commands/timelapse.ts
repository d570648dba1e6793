import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Command } from "commander";
import { ReflowError } from "../../runtime/common/errors.ts";
import { asData } from "../../runtime/host/files.ts";
import { readLines } from "../../trainer/monitoring/metrics.ts";
import { WATCH_FILE, type WatchLine } from "../../trainer/monitoring/watch.ts";
import { checkOutputFile } from "../shared/output.ts";

export function timelapseCommand(): Command {
  return new Command("timelapse")
    .description("Show how the words that a run watched came by their recipes and neighbours.")
    .argument("<run>", "a run's folder, trained with --watch")
    .option("--out <file>", "the page to write, or to replace (timelapse.html, in the run)")
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
    throw new ReflowError(
      "data",
      `${file}: there is no such file`,
      "train with --watch, and give the run's folder",
    );
  }
  const lines = asData(file, () => readLines<WatchLine>(file));
  if (lines.length === 0) {
    throw new ReflowError("data", `${file} has nothing in it yet`, "wait for the run's first evaluation");
  }
  checkOutputFile(out);
  writeFiles(dirname(out), { [basename(out)]: renderTimelapse(lines) });
  console.log(out);
}
