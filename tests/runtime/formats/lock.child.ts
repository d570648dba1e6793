/**
 * Locks the folders argv[3…], the first at the time argv[2] (milliseconds since 1970) and each further one 10 ms
 * later. Prints "locked" or the error code for each, and holds the locks until it is killed.
 */
import { ReflowError } from "../../../runtime/common/errors.ts";
import { lockFolder } from "../../../runtime/formats/lock.ts";

const [begin, ...runs] = process.argv.slice(2);
const said = runs.map((run, i) => {
  const time = Number(begin) + 10 * i;
  Bun.sleepSync(Math.max(0, time - Date.now() - 1));
  while (Date.now() < time); // busy-waits for the last millisecond, so that processes try at the same time
  try {
    lockFolder(run);
    return "locked";
  } catch (error) {
    if (!(error instanceof ReflowError)) throw error;
    return error.code;
  }
});
console.log(said.join());
setInterval(() => {}, 1000);
