import { expect } from "bun:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs `bun run cli` with these arguments in its own process, without access to the package registry. */
export const cli = (...args: string[]): Promise<Result> => cliWith({}, ...args);

export async function cliWith(
  { env = {}, stdin = "" }: { env?: Record<string, string>; stdin?: string },
  ...args: string[]
): Promise<Result> {
  const child = Bun.spawn([process.execPath, "cli/main.ts", ...args], {
    cwd: root,
    env: { ...process.env, npm_config_registry: "http://127.0.0.1:9/", ...env },
    stdin: new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout, child.stderr].map(textOf));
  return { code: await child.exited, stdout, stderr };
}

export const textOf = (stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> =>
  new Response(stream).text();

/** Runs a command with `--json` and parses its output, which must be a single line of JSON. */
export async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await cli(...args, "--json");
  expect(stderr).not.toContain("error");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\{.*\}\n$/);
  return JSON.parse(stdout);
}

/** The error and help of a rejected command: status 2, nothing on stdout, no stack trace. */
export function refusal({ code, stdout, stderr }: Result): string {
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^error: /m);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stderr.trim().split("\n").length).toBeLessThanOrEqual(3);
  expect(code).toBe(2);
  return stderr;
}

export const refused = async (...args: string[]): Promise<string> => refusal(await cli(...args));
