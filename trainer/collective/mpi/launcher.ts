import { lstatSync } from "node:fs";
import { ReflowError } from "../../../runtime/common/errors.ts";

/** The launcher that started this process as one of several. */
export interface Launcher {
  name: string;
  /** Number of processes that it started, if known. */
  world?: number;
  /** File names of the libraries that can join its job, the likeliest first. */
  libraries: string[];
}

const OPEN_MPI = "libmpi.so.40";
/** The name in Debian, then elsewhere; the latter is also used by Intel MPI, MVAPICH and Cray MPI. */
const MPICH = ["libmpich.so.12", "libmpi.so.12"];
/** The ABI of the MPI 5 standard. Debian does not package it, so CI does not test it; MPICH 5.0.2 passed manual tests. */
const MPI_5 = "libmpi_abi.so.1";

/**
 * Detects the launcher of this process from its environment.
 *
 * @throws ReflowError `usage` if no launcher is detected
 */
export function findLauncher(env: Record<string, string | undefined>): Launcher {
  const number = (text?: string) => (text === undefined ? undefined : Number(text));
  if (env.OMPI_COMM_WORLD_SIZE !== undefined) {
    const world = number(env.OMPI_COMM_WORLD_SIZE);
    return { name: "Open MPI's mpirun", world, libraries: [OPEN_MPI, MPI_5] };
  }
  const isSlurm = env.SLURM_STEP_ID !== undefined;
  // MPICH sets PMI_PORT with -pmi-port, and then does not set PMI_SIZE.
  if (env.PMI_RANK !== undefined || env.PMI_PORT !== undefined) {
    const world = number(env.PMI_SIZE);
    if (isSlurm) return { name: "srun", world, libraries: [...MPICH, MPI_5, OPEN_MPI] };
    return { name: "MPICH's mpirun", world, libraries: [...MPICH, MPI_5] };
  }
  if (env.PMIX_RANK !== undefined) {
    const name = isSlurm ? "srun" : "a PMIx launcher";
    return { name, world: number(env.SLURM_STEP_NUM_TASKS), libraries: [OPEN_MPI, ...MPICH, MPI_5] };
  }
  throw new ReflowError(
    "usage",
    "--collective mpi requires an MPI launcher, but none started this process",
    "run mpirun -n 4 bun run trainer --collective mpi; under Slurm, use srun --mpi=pmix or --mpi=pmi2 instead of mpirun -n 4",
  );
}

/**
 * Checks the connection to MPICH's launcher, which a process inherits as file descriptor PMI_FD.
 *
 * @throws ReflowError `usage` if an intermediate process has closed it
 */
export function requireLauncherConnection({ PMI_FD }: Record<string, string | undefined>): void {
  if (PMI_FD === undefined) return;
  try {
    // Deno's fstat only accepts files that Deno has opened.
    lstatSync(`/proc/self/fd/${PMI_FD}`);
  } catch {
    throw new ReflowError(
      "usage",
      "the MPI launcher's connection to this process is closed; `bun run` closes it",
      "run mpirun -n 4 bun trainer/main.ts --collective mpi, or mpirun -pmi-port -n 4 bun run trainer --collective mpi",
    );
  }
}
