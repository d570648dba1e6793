import { ReflowError } from "../runtime/common/errors.ts";
import { SCRIPT_COMMAND } from "../runtime/host/child-process.ts";
import { type Collective, SINGLE_PROCESS } from "./collective/collective.ts";
import { findLauncher } from "./collective/mpi/launcher.ts";
import { assignDevices, countRanks, threadsPerRank } from "./distributed/devices.ts";
import { isLaunched, joinLaunched } from "./distributed/join-launched.ts";
import { launch } from "./distributed/launch.ts";
import { train } from "./loop/train.ts";
import type { Flags } from "./settings/settings.ts";

/** Error codes that are not a mistake in the command line. */
const FAILURE_CODES = ["job", "lost", "numerics"];

/**
 * Runs the command line in this process, which becomes the only process of the job, one of its ranks, or the launcher of
 * several ranks. Sets `process.exitCode` after a signal.
 */
export async function start(flags: Flags): Promise<void> {
  const { device = "auto" } = flags;
  const usesMpi = !isLaunched() && isMpiJob(flags);
  if (flags.wire && !usesMpi) {
    throw new ReflowError(
      "usage",
      `--wire ${flags.wire} requires MPI`,
      "pass --collective mpi, or omit --wire",
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
  await train(flags, { collective: SINGLE_PROCESS, device: chosen, threads: flags.threads, localRanks: 1 });
}

/**
 * Whether MPI is requested, or an MPI launcher is detected. Without detection, ranks unaware of each other would all write
 * into one folder.
 */
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
    `--world is ${world}, but the MPI launcher started ${collective.world} ranks`,
    "omit --world: mpirun -n sets the number of ranks",
  );
}

/** Starts the same command for each rank, with a device and a share of the cores. */
async function launchRanks({ device = "auto", threads }: Flags, ranks: number): Promise<number> {
  const devices = await assignDevices(device, ranks);
  const [, script, ...args] = process.argv;
  return launch({
    commands: devices.map((name) => {
      const own = ["--device", name, "--threads", `${threads ?? threadsPerRank(ranks)}`];
      return [...SCRIPT_COMMAND, script, ...args, ...own];
    }),
    devices,
  });
}

async function trainAsRank(flags: Flags, collective: Collective): Promise<void> {
  const { device = "auto", threads } = flags;
  const { localRank, localRanks } = localRankOf(collective);
  try {
    const devices = await assignDevices(device, localRanks);
    await train(flags, {
      collective,
      device: devices[localRank],
      threads: threads ?? threadsPerRank(localRanks),
      localRanks,
    });
  } catch (error) {
    const known = error instanceof ReflowError ? error : undefined;
    // A failure of another rank has already been reported.
    if (known?.code !== "job") {
      collective.abort(known ? [known.message, known.help ?? ""].join("\n").trimEnd() : `${error}`);
    }
    // The launcher prints the error, once for all ranks.
    if (known && isLaunched()) process.exit(FAILURE_CODES.includes(known.code) ? 1 : 2);
    throw error;
  }
  collective.dispose();
}

/** This rank's number among the ranks of its machine. Unless an MPI launcher says otherwise, all ranks are on this machine. */
function localRankOf({ rank, world }: Collective): { localRank: number; localRanks: number } {
  const { env } = process;
  const even = Math.ceil(world / Number(env.SLURM_STEP_NUM_NODES ?? 1));
  return {
    localRank: Number(env.OMPI_COMM_WORLD_LOCAL_RANK ?? env.MPI_LOCALRANKID ?? env.SLURM_LOCALID ?? rank),
    localRanks: Number(env.OMPI_COMM_WORLD_LOCAL_SIZE ?? env.MPI_LOCALNRANKS ?? even),
  };
}
