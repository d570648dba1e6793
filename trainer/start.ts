import { ReflowError } from "../runtime/common/errors.ts";
import { ALONE, type Collective } from "./collective/collective.ts";
import { findLauncher } from "./collective/mpi/launcher.ts";
import { assignDevices, countRanks, threadsOf } from "./distributed/devices.ts";
import { HOST, launch } from "./distributed/launch.ts";
import { isLaunched, joinLaunched } from "./distributed/join-launched.ts";
import type { Flags } from "./settings/settings.ts";
import { train } from "./loop/train.ts";

/** What ends a job through nobody's mistake in the command line. */
const FAILURES = ["job", "lost", "numerics"];

/**
 * `bun run trainer` in this process: it is the only one, or one rank of several, or who starts those. Sets
 * `process.exitCode` after a signal.
 */
export async function start(flags: Flags): Promise<void> {
  const { device = "auto" } = flags;
  const usesMpi = !isLaunched() && isMpiJob(flags);
  if (flags.wire && !usesMpi) {
    throw new ReflowError(
      "usage",
      `--wire ${flags.wire} is for MPI`,
      "add --collective mpi, or leave it out",
    );
  }
  if (usesMpi) return trainAsRank(flags, await joinMpi(flags));
  if (isLaunched()) return trainAsRank(flags, joinLaunched(flags.deadline));
  const { world = "auto" } = flags;
  const ranks = world === "auto" ? await countRanks(device) : world;
  if (ranks > 1) {
    process.exitCode = await launchRanks(flags, ranks);
    return;
  }
  const [chosen] = await assignDevices(device, 1);
  await train(flags, { collective: ALONE, device: chosen, threads: flags.threads, neighbours: 1 });
}

/** Asked for, or evident: ranks that don't know of each other would all write into one folder. */
function isMpiJob({ collective = "auto" }: Flags): boolean {
  if (collective !== "auto") return collective === "mpi";
  try {
    return findLauncher(process.env).world !== 1;
  } catch {
    return false;
  }
}

async function joinMpi({ wire, deadline, world = "auto" }: Flags): Promise<Collective> {
  const { createMpi } = await import("./collective/mpi/mpi-collective.ts");
  const collective = await createMpi({ wire, deadlineSeconds: deadline });
  if (world === "auto" || world === collective.world) return collective;
  throw new ReflowError(
    "usage",
    `--world is ${world}, and the MPI launcher started ${collective.world}`,
    "leave --world out: mpirun -n says it",
  );
}

/** The same command once for each rank, with a device and a share of the cores. */
async function launchRanks({ device = "auto", threads }: Flags, ranks: number): Promise<number> {
  const devices = await assignDevices(device, ranks);
  const [, script, ...args] = process.argv;
  return launch({
    commands: devices.map((name) => {
      const own = ["--device", name, "--threads", `${threads ?? threadsOf(ranks)}`];
      return [...HOST, script, ...args, ...own];
    }),
    devices,
  });
}

async function trainAsRank(flags: Flags, collective: Collective): Promise<void> {
  const { device = "auto", threads } = flags;
  const { index, neighbours } = placeOnMachine(collective);
  try {
    const devices = await assignDevices(device, neighbours);
    const place = { device: devices[index], threads: threads ?? threadsOf(neighbours), neighbours };
    await train(flags, { collective, ...place });
  } catch (error) {
    const known = error instanceof ReflowError ? error : undefined;
    // What another rank did has been said.
    if (known?.code !== "job") {
      collective.abort(known ? [known.message, known.help ?? ""].join("\n").trimEnd() : `${error}`);
    }
    // The launcher prints it, once for all ranks.
    if (known && isLaunched()) process.exit(FAILURES.includes(known.code) ? 1 : 2);
    throw error;
  }
  collective.dispose();
}

/** This rank among those of its machine; all are, where an MPI launcher doesn't say otherwise. */
function placeOnMachine({ rank, world }: Collective): { index: number; neighbours: number } {
  const { env } = process;
  const even = Math.ceil(world / Number(env.SLURM_STEP_NUM_NODES ?? 1));
  return {
    index: Number(env.OMPI_COMM_WORLD_LOCAL_RANK ?? env.MPI_LOCALRANKID ?? env.SLURM_LOCALID ?? rank),
    neighbours: Number(env.OMPI_COMM_WORLD_LOCAL_SIZE ?? env.MPI_LOCALNRANKS ?? even),
  };
}
