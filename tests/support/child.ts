import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";

/** A process of ours, and what it says. */
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

  /** Waits for something in the error output. */
  async says(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        if (pattern.test(this.stderr)) resolve();
      };
      look();
      this.child.stderr!.on("data", look);
      this.#ended.then(() => reject(new Error(`it ended without saying ${pattern}:\n${this.stderr}`)));
    });
  }

  /** Waits for its end, which must come with one of these statuses or signals. */
  async ends(...statuses: (number | NodeJS.Signals)[]): Promise<void> {
    const found = await this.#ended;
    assert.ok(statuses.includes(found), `${found}, not ${statuses}:\n${this.stderr}\n${this.stdout}`);
  }

  signal(signal: NodeJS.Signals): void {
    // After child.kill, Deno gives the signal in the place of the status.
    process.kill(this.child.pid!, signal);
  }
}
