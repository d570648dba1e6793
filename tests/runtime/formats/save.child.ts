/**
 * Saves a checkpoint with one large file to argv[2], as user `nobody` if started by root, and prints the error.
 */
import { ReflowError } from "../../../runtime/common/errors.ts";
import { writeCheckpoint } from "../../../runtime/formats/checkpoint.ts";

const ROOT = 0;
const NOBODY = 65534;
if (process.getuid?.() === ROOT) process.setuid?.(NOBODY);
try {
  await writeCheckpoint(process.argv[2], (files) => files.json("large.json", "x".repeat(100_000)));
} catch (error) {
  if (!(error instanceof ReflowError)) throw error;
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}
