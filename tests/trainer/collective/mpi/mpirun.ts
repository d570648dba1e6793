import { spawn, spawnSync } from "node:child_process";
import { SCRIPT_COMMAND } from "../../../../runtime/host/child-process.ts";

export interface Launched {
  status: number;
  stdout: string;
  stderr: string;
  seconds: number;
}

interface Options {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Additional flags of the launcher. */
  flags?: string[];
}

export interface Mpi {
  name: string;
  launcher: string;
  /** Flags required to run as root, and with fewer cores than ranks. */
  flags: string[];
  /** The reason why its tests cannot run on this machine. */
  skip: string | false;
  /** Runs a script on `world` ranks until the job ends. */
  run(world: number, args: string[], options?: Options): Promise<Launched>;
}

function describe(name: string, launcher: string, debian: string, flags: string[]): Mpi {
  const isInstalled = spawnSync(launcher, ["--version"]).status === 0;
  const skip = isInstalled ? false : `${launcher} is not installed: apt-get install ${debian}`;
  if (skip) console.warn(`Skipped: ${skip}`);
  return {
    name,
    launcher,
    flags,
    skip,
    async run(world, args, { cwd, env, flags: more = [] } = {}) {
      const started = performance.now();
      const child = spawn(launcher, ["-n", `${world}`, ...flags, ...more, ...SCRIPT_COMMAND, ...args], {
        cwd,
        env: { ...process.env, NO_COLOR: "1", ...env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      const output = { stdout: "", stderr: "" };
      for (const name of ["stdout", "stderr"] as const) {
        child[name].on("data", (chunk) => {
          output[name] += chunk;
        });
      }
      const status = await new Promise<number>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", (code) => resolve(code ?? -1));
      });
      return { ...output, status, seconds: (performance.now() - started) / 1000 };
    },
  };
}

/** The MPI implementations packaged by Debian. */
export const MPIS: Mpi[] = [
  describe("Open MPI", "mpirun.openmpi", "openmpi-bin", ["--allow-run-as-root", "--oversubscribe"]),
  describe("MPICH", "mpirun.mpich", "mpich", []),
];
