/** How long sums over the ranks of one machine take. */
import { fileURLToPath } from "node:url";
import { HOST, launch } from "./launch.ts";
import { joinLaunched } from "./join-launched.ts";

export interface AllReduceTime {
  /** Values, f32. */
  length: number;
  /** The best of several runs, of the slowest rank. */
  seconds: number;
}

const script = fileURLToPath(import.meta.url);

/**
 * Starts `world` processes, sums so many values over them, and takes the time.
 *
 * @example
 * const [one, nano] = await measureAllReduce(2, [1, 7_277_824]);
 */
export async function measureAllReduce(world: number, lengths: readonly number[]): Promise<AllReduceTime[]> {
  const command = [...HOST, script, ...lengths.map(String)];
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

/** Runs of each length: at least, and for so many seconds. */
const [RUNS, SECONDS] = [5, 0.5];

/** One of the processes. */
async function measure(lengths: number[]): Promise<void> {
  const collective = joinLaunched();
  const times: AllReduceTime[] = [];
  for (const length of lengths) {
    const values = new Float32Array(length).fill(1e-3);
    const slowest = new Float32Array(collective.world);
    let best = Number.POSITIVE_INFINITY;
    let [run, spent] = [0, 0];
    while (run < RUNS || spent < SECONDS) {
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
