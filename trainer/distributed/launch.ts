import { type ChildProcess, spawn } from "node:child_process";
import { ReflowError } from "../../runtime/common/errors.ts";
import { EXIT_CODES, watchSignals } from "../../runtime/host/signals.ts";
import { type Failure, JobMemory } from "../collective/job-memory.ts";

/** What runs a script of ours. */
export const HOST = [process.execPath, ...("Deno" in globalThis ? ["run", "-A"] : [])];

export interface LaunchOptions {
  /** Program and arguments of each rank. */
  commands: readonly (readonly string[])[];
  /** What each rank computes on, for messages. */
  devices: readonly string[];
  /** Gets what rank 0 prints, which otherwise goes where this process prints. */
  onOutput?: (text: string) => void;
}

/** How long ranks have to end by themselves after rank 0 ended or another one failed, in milliseconds. */
const GRACE = 3000;
/** Statuses that are nobody's failure. */
const REGULAR = [0, ...Object.values(EXIT_CODES)];

/**
 * Starts the ranks of a job on this machine, each a process, and waits for their end. Rank 0 has the terminal. Which rank a
 * process is, it finds in its environment: see `joinLaunched`.
 *
 * The first SIGINT or SIGTERM is passed on, a second one ends all ranks at once. Where a rank fails or dies, the others
 * hear of it in their next all-reduce, and are killed soon after. Ranks end by themselves where this process is gone.
 *
 * @returns rank 0's status: 0, or what shells expect after a signal
 * @throws ReflowError `job` naming the rank that ended the job, its process, device and reason; `usage` where that was
 *   something a user can mend
 */
export async function launch({ commands, devices, onOutput }: LaunchOptions): Promise<number> {
  const memory = JobMemory.create(commands.length);
  const ranks = commands.map((command, rank) => new Rank(command, rank, memory, onOutput));
  const killAll = () => {
    for (const rank of ranks) rank.kill("SIGKILL");
  };
  let ending: NodeJS.Timeout | undefined;
  const killIn = (milliseconds: number) => {
    clearTimeout(ending);
    ending = setTimeout(killAll, milliseconds);
  };
  const signals = watchSignals((name, isFirst) => {
    if (!isFirst) killIn(0);
    else for (const rank of ranks) rank.kill(name);
  });
  let hasFailed = false;
  const watch = async (rank: number): Promise<void> => {
    const end = await ranks[rank].ended;
    const isRegular = REGULAR.includes(end as number);
    // What comes after the first failure follows from it.
    if (ending || (isRegular && rank > 0)) return;
    killIn(GRACE);
    // A signal may come before a rank keeps it for later.
    if (isRegular || end === signals.caught) return;
    hasFailed = true;
    memory.fail({ rank, reason: typeof end === "string" ? `ended by ${end}` : `ended with status ${end}` });
  };
  try {
    await Promise.all(ranks.map((_, rank) => watch(rank)));
  } finally {
    clearTimeout(ending);
    signals.stop();
    memory.removeName();
  }
  // A rank that gives a reason does so before it ends: the first reason is not always that of the first to end.
  if (hasFailed) throw await failureOf(memory.failure!, ranks, devices);
  const status = await ranks[0].ended;
  return typeof status === "number" ? status : EXIT_CODES[signals.caught!];
}

async function failureOf(
  { rank, reason }: Failure,
  ranks: Rank[],
  devices: readonly string[],
): Promise<ReflowError> {
  const [message, help] = reason.split("\n"); // as `Collective.abort` takes it
  const { child, ended, errors } = ranks[rank];
  if (errors) process.stderr.write(errors);
  if ((await ended) === 2) return new ReflowError("usage", message, help);
  return new ReflowError(
    "job",
    `rank ${rank} (process ${child.pid}, ${devices[rank]}): ${message}`,
    help ?? "--resume goes on from the last checkpoint",
  );
}

/** A rank's process. */
class Rank {
  readonly child: ChildProcess;
  /** Its status, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** What it printed as errors, where that isn't seen. */
  errors = "";
  #hasEnded = false;

  constructor(
    [program, ...args]: readonly string[],
    rank: number,
    { path, world }: JobMemory,
    onOutput?: (text: string) => void,
  ) {
    const env = { ...process.env, REFLOW_RANK: `${rank}`, REFLOW_WORLD: `${world}`, REFLOW_MEMORY: path };
    // Nothing is ever written to the input: it ends when this process does.
    const stdio =
      rank > 0
        ? (["pipe", "ignore", "pipe"] as const)
        : (["pipe", onOutput ? "pipe" : "inherit", "inherit"] as const);
    this.child = spawn(program, args, { env, stdio: [...stdio] });
    this.child.stdout?.on("data", (chunk) => onOutput?.(`${chunk}`));
    this.child.stderr?.on("data", (chunk) => {
      this.errors += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (status, signal) => resolve(status ?? signal!));
    });
    this.child.on("exit", () => {
      this.#hasEnded = true;
    });
  }

  kill(signal: NodeJS.Signals): void {
    // Deno's `child.kill` closes the input as well, and reports the signal for the status.
    if (!this.#hasEnded) process.kill(this.child.pid!, signal);
  }
}
