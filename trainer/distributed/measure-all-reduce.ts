/** Measures all-reduce between the ranks of one machine. */
import { fileURLToPath } from "node:url";
import { SCRIPT_COMMAND } from "../../runtime/host/child-process.ts";
import { joinLaunched } from "./join-launched.ts";
import { launch } from "./launch.ts";

export interface AllReduceTime {
  /** Number of f32 values. */
  length: number;
  /** Time of the slowest rank, the best of several runs. */
  seconds: number;
}

const script = fileURLToPath(import.meta.url);

/**
 * Starts `world` processes and measures how long they take to sum arrays of the given lengths.
 *
 * @example
 * const [one, nano] = await measureAllReduce(2, [1, 7_277_824]);
 */
export async function measureAllReduce(world: number, lengths: readonly number[]): Promise<AllReduceTime[]> {
  const command = [...SCRIPT_COMMAND, script, ...lengths.map(String)];
  let output = "";
  await launch({
    commands: Array(world).fill(command),
    devices: Array(world).fill("cpu"),
    onOutput: (text) => {
      output += text;
    },
  });
  return JSON.parse(output);
}

/** Each length is measured at least this often, and for at least this long. */
const [MIN_RUNS, MIN_SECONDS] = [5, 0.5];

/** The work of one of the processes. */
async function measure(lengths: number[]): Promise<void> {
  const collective = joinLaunched();
  const times: AllReduceTime[] = [];
  for (const length of lengths) {
    const values = new Float32Array(length).fill(1e-3);
    const slowest = new Float32Array(collective.world);
    let best = Number.POSITIVE_INFINITY;
    let [run, spent] = [0, 0];
    while (run < MIN_RUNS || spent < MIN_SECONDS) {
      const start = performance.now();
      await collective.allReduce(values);
      slowest.fill(0)[collective.rank] = (performance.now() - start) / 1000;
      await collective.allReduce(slowest);
      const seconds = Math.max(...slowest);
      best = Math.min(best, seconds);
      spent += seconds;
      run++;
    }
    times.push({ length, seconds: best });
  }
  if (collective.rank === 0) {
    await new Promise<void>((resolve) => process.stdout.end(JSON.stringify(times), resolve));
  }
  process.exit();
}

if (import.meta.main) await measure(process.argv.slice(2).map(Number));
