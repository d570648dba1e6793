import { ReflowError } from "../../runtime/common/errors.ts";
import { Subprocess } from "../../runtime/host/child-process.ts";
import { EXIT_CODES, watchSignals } from "../../runtime/host/signals.ts";
import { type Failure, JobMemory } from "../collective/job-memory.ts";

export interface LaunchOptions {
  /** Program and arguments of each rank. */
  commands: readonly (readonly string[])[];
  /** The device of each rank, for messages. */
  devices: readonly string[];
  /** Receives the standard output of rank 0, which otherwise goes to this process's output. */
  onOutput?: (text: string) => void;
}

/** How long ranks have to exit after rank 0 ended or another rank failed, in milliseconds. */
const GRACE_MS = 3000;
/** Statuses that are not a failure. */
const REGULAR_STATUSES = [0, ...Object.values(EXIT_CODES)];

/**
 * Starts the ranks of a job on this machine, each in its own process, and waits until all have ended. Rank 0 has the
 * terminal. A process finds its rank in its environment: see `joinLaunched`.
 *
 * The first SIGINT or SIGTERM is forwarded; a second one kills all ranks. If a rank fails or dies, the others learn of it
 * in their next all-reduce, and are killed soon after. Ranks exit if this process dies.
 *
 * @returns the status of rank 0: 0, or the status that shells expect after a signal
 * @throws ReflowError `job` naming the rank that ended the job, its process, device and reason; `usage` if the reason was
 *   an error that the user can correct
 */
export async function launch({ commands, devices, onOutput }: LaunchOptions): Promise<number> {
  const memory = JobMemory.create(commands.length);
  const ranks = commands.map((command, rank) => startRank(command, rank, memory, onOutput));
  const killAll = () => {
    for (const rank of ranks) rank.kill("SIGKILL");
  };
  let killTimer: NodeJS.Timeout | undefined;
  const killIn = (milliseconds: number) => {
    clearTimeout(killTimer);
    killTimer = setTimeout(killAll, milliseconds);
  };
  const signals = watchSignals((name, isFirst) => {
    if (!isFirst) killIn(0);
    else for (const rank of ranks) rank.kill(name);
  });
  let hasFailed = false;
  const waitFor = async (rank: number): Promise<void> => {
    const end = await ranks[rank].ended;
    const isRegular = REGULAR_STATUSES.includes(end as number);
    // Later failures are consequences of the first.
    if (killTimer || (isRegular && rank > 0)) return;
    killIn(GRACE_MS);
    // A signal may arrive before a rank has installed its handler.
    if (isRegular || end === signals.caught) return;
    hasFailed = true;
    memory.fail({ rank, reason: typeof end === "string" ? `ended by ${end}` : `ended with status ${end}` });
  };
  try {
    await Promise.all(ranks.map((_, rank) => waitFor(rank)));
  } finally {
    clearTimeout(killTimer);
    signals.stop();
    memory.removeName();
  }
  // A rank records its reason before it exits, so the first reason need not be from the first rank that exited.
  if (hasFailed) throw await errorOf(memory.failure!, ranks, devices);
  const status = await ranks[0].ended;
  return typeof status === "number" ? status : EXIT_CODES[signals.caught!];
}

function startRank(
  command: readonly string[],
  rank: number,
  { path, world }: JobMemory,
  onOutput?: (text: string) => void,
): Subprocess {
  const env = { ...process.env, REFLOW_RANK: `${rank}`, REFLOW_WORLD: `${world}`, REFLOW_MEMORY: path };
  return new Subprocess(
    command,
    rank > 0
      ? { env, stdout: "ignore", stderr: "collect" }
      : { env, stdout: onOutput ?? "inherit", stderr: "inherit" },
  );
}

async function errorOf(
  { rank, reason }: Failure,
  ranks: Subprocess[],
  devices: readonly string[],
): Promise<ReflowError> {
  const [message, help] = reason.split("\n"); // the format of `Collective.abort`
  const { pid, ended, errors } = ranks[rank];
  if (errors) process.stderr.write(errors);
  if ((await ended) === 2) return new ReflowError("usage", message, help);
  return new ReflowError(
    "job",
    `rank ${rank} (process ${pid}, ${devices[rank]}): ${message}`,
    help ?? "pass --resume to continue from the last checkpoint",
  );
}
