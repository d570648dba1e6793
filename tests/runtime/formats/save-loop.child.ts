/**
 * Saves checkpoints of the run argv[2] from step argv[3] on until it is killed; prints a line after the
 * first.
 */
import { pruneCheckpoints, stepFolder } from "../../../runtime/formats/checkpoint.ts";
import { writeRandomCheckpoint } from "./random-checkpoint.ts";

const [run, last] = process.argv.slice(2);
for (let step = Number(last) + 1; ; step++) {
  await writeRandomCheckpoint(stepFolder(run, step), step);
  if (step === Number(last) + 1) process.stdout.write("saved\n");
  pruneCheckpoints(run, 2);
}
