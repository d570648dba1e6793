import { type ChildProcess, spawn } from "node:child_process";

/** The command that runs a TypeScript file with the current runtime, Bun or Deno: append the file and its arguments. */
export const SCRIPT_COMMAND = [process.execPath, ...("Deno" in globalThis ? ["run", "-A"] : [])];

export interface SubprocessOptions {
  env: NodeJS.ProcessEnv;
  /** A function receives the output; `inherit` passes it on to this process's output. */
  stdout: "inherit" | "ignore" | ((text: string) => void);
  /** `collect` stores the text in {@link Subprocess.errors}. */
  stderr: "inherit" | "collect";
}

/** A child process. Its standard input stays empty, and ends when this process does. */
export class Subprocess {
  /** Resolves to the exit status, or to the signal that ended the process. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** The text of standard error, if it is collected. */
  errors = "";
  readonly #child: ChildProcess;
  #hasEnded = false;

  constructor([program, ...args]: readonly string[], { env, stdout, stderr }: SubprocessOptions) {
    this.#child = spawn(program, args, {
      env,
      stdio: [
        "pipe",
        typeof stdout === "function" ? "pipe" : stdout,
        stderr === "collect" ? "pipe" : "inherit",
      ],
    });
    this.#child.stdout?.on("data", (chunk) => {
      if (typeof stdout === "function") stdout(`${chunk}`);
    });
    this.#child.stderr?.on("data", (chunk) => {
      this.errors += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      this.#child.on("error", reject);
      this.#child.on("close", (status, signal) => resolve(status ?? signal!));
    });
    this.#child.on("exit", () => {
      this.#hasEnded = true;
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  kill(signal: NodeJS.Signals): void {
    // Deno's `child.kill` also closes the input, and reports the signal instead of the status.
    if (!this.#hasEnded) process.kill(this.#child.pid!, signal);
  }
}
