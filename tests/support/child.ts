import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";

/** A child process and its output. */
export class Child {
  stdout = "";
  stderr = "";
  readonly child: ChildProcess;
  readonly #ended: Promise<number | NodeJS.Signals>;

  constructor(
    [command, ...args]: readonly string[],
    cwd: string,
    env: Readonly<Record<string, string>> = {},
  ) {
    this.child = spawn(command, args, {
      cwd,
      env: { ...process.env, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child.stdout!.on("data", (chunk) => {
      this.stdout += chunk;
    });
    this.child.stderr!.on("data", (chunk) => {
      this.stderr += chunk;
    });
    this.#ended = new Promise((resolve) => {
      this.child.on("close", (code, signal) => resolve(code ?? signal!));
    });
  }

  /** Waits until the error output matches a pattern. */
  async waitForOutput(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        if (pattern.test(this.stderr)) resolve();
      };
      look();
      this.child.stderr!.on("data", look);
      this.#ended.then(() =>
        reject(new Error(`the process ended without printing ${pattern}:\n${this.stderr}`)),
      );
    });
  }

  /** Waits for the process to end, which must be with one of these statuses or signals. */
  async waitForExit(...statuses: (number | NodeJS.Signals)[]): Promise<void> {
    const found = await this.#ended;
    assert.ok(
      statuses.includes(found),
      `ended with ${found}, expected ${statuses}:\n${this.stderr}\n${this.stdout}`,
    );
  }

  signal(signal: NodeJS.Signals): void {
    // Not child.kill: after it, Deno reports the signal in place of the status.
    process.kill(this.child.pid!, signal);
  }
}
