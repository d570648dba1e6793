import { lstatSync } from "node:fs";
import { ReflowError } from "../../../runtime/common/errors.ts";

/** Whoever started this process as one of several. */
export interface Launcher {
  name: string;
  /** How many it started, where it says so. */
  world?: number;
  /** File names of the libraries that can join its job, the likeliest first. */
  libraries: string[];
}

const OPEN_MPI = "libmpi.so.40";
/** Its name in Debian, and elsewhere: that of Intel MPI, MVAPICH and Cray's, too. */
const MPICH = ["libmpich.so.12", "libmpi.so.12"];
/** The ABI of the MPI 5 standard. Untested in CI, since Debian has none; by hand, MPICH 5.0.2 passed. */
const MPI_5 = "libmpi_abi.so.1";

/**
 * Reads from the environment which launcher's job this process is in.
 *
 * @throws ReflowError `usage` where it is in none
 */
export function findLauncher(env: Record<string, string | undefined>): Launcher {
  const number = (text?: string) => (text === undefined ? undefined : Number(text));
  if (env.OMPI_COMM_WORLD_SIZE !== undefined) {
    const world = number(env.OMPI_COMM_WORLD_SIZE);
    return { name: "Open MPI's mpirun", world, libraries: [OPEN_MPI, MPI_5] };
  }
  const isSlurm = env.SLURM_STEP_ID !== undefined;
  // The latter with MPICH's -pmi-port, and without a word of the size.
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
    "--collective mpi needs an MPI launcher, and none started this process",
    "mpirun -n 4 bun run trainer --collective mpi; under Slurm, srun --mpi=pmix or --mpi=pmi2 in the place of mpirun -n 4",
  );
}

/**
 * MPICH's launcher reaches a process through a connection that this inherits, number PMI_FD.
 *
 * @throws ReflowError `usage` where somebody between the two has closed it
 */
export function mustBeReachable({ PMI_FD }: Record<string, string | undefined>): void {
  if (PMI_FD === undefined) return;
  try {
    // Deno's fstat doesn't know what Deno has not opened.
    lstatSync(`/proc/self/fd/${PMI_FD}`);
  } catch {
    throw new ReflowError(
      "usage",
      "the MPI launcher's connection to this process is closed, as `bun run trainer` does",
      "mpirun -n 4 bun trainer/main.ts --collective mpi, or mpirun -pmi-port -n 4 bun run trainer --collective mpi",
    );
  }
}
