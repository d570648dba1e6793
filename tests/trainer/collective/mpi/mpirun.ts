import { spawn, spawnSync } from "node:child_process";

export interface Launched {
  status: number;
  stdout: string;
  stderr: string;
  seconds: number;
}

interface Options {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Of the launcher. */
  flags?: string[];
}

export interface Mpi {
  name: string;
  launcher: string;
  /** That it needs here: as root, and with fewer cores than ranks. */
  flags: string[];
  /** Why its tests can't run here. */
  skip: string | false;
  /** Runs a script of ours as so many ranks, to the job's end. */
  run(world: number, args: string[], options?: Options): Promise<Launched>;
}

/** What runs a script. */
export const HOST = [process.execPath, ...("Deno" in globalThis ? ["run", "-A"] : [])];

function describe(name: string, launcher: string, debian: string, flags: string[]): Mpi {
  const isThere = spawnSync(launcher, ["--version"]).status === 0;
  const skip = isThere ? false : `no ${launcher} on this machine: apt-get install ${debian}`;
  if (skip) console.warn(`Skipped: ${skip}`);
  return {
    name,
    launcher,
    flags,
    skip,
    async run(world, args, { cwd, env, flags: more = [] } = {}) {
      const started = performance.now();
      const child = spawn(launcher, ["-n", `${world}`, ...flags, ...more, ...HOST, ...args], {
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

/** The two that Debian has, whichever of them is installed. */
export const MPIS: Mpi[] = [
  describe("Open MPI", "mpirun.openmpi", "openmpi-bin", ["--allow-run-as-root", "--oversubscribe"]),
  describe("MPICH", "mpirun.mpich", "mpich", []),
];
