import { expect, test } from "bun:test";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, refused, textOf } from "./support.ts";

const COMMANDS = [
  "inspect",
  "sample",
  "steer",
  "eval",
  "logits",
  "activations",
  "tokenize",
  "data",
  "quantize",
  "bench",
  "devices",
];
const root = fileURLToPath(new URL("../..", import.meta.url));

test("--help lists the commands; each command's help has an example and --json", async () => {
  const { code, stdout } = await cli("--help");
  expect(code).toBe(0);
  for (const name of COMMANDS) {
    expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
    const help = await cli(name, "--help");
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toContain("--json");
    const [about, example] = help.stdout.split(/^Example: /m);
    expect(example).toStartWith(name === "logits" ? "echo" : `bun run cli ${name} `);
    const longest = Math.max(...about.split("\n").map((line) => line.length));
    if (name !== "bench") expect(longest).toBeLessThanOrEqual(80);
  }
});

test("rejects unknown commands and flags, and suggests the closest", async () => {
  expect(await refused("inspct")).toMatch(/unknown command 'inspct'\n\(Did you mean inspect\?\)/);
  expect(await refused("inspect", "--prest", "nano")).toContain("Did you mean --preset?");
  expect(await refused("sample", "x", "y")).toContain("too many arguments");
  expect(await refused("sample")).toContain("missing required argument 'checkpoint'");
});

test("handles slow and closed stdout readers", async () => {
  const folder = join(temporaryFolder(), "model");
  await writeTinyCheckpoint(folder);
  const pipe = async (reader: string, ...flags: string[]) => {
    const command = `"$0" cli/main.ts sample "$@" | (${reader}); echo "\${PIPESTATUS[0]}"`;
    const child = Bun.spawn(["bash", "-c", command, process.execPath, folder, ...flags], {
      cwd: root,
      stderr: "pipe",
    });
    return { stdout: await textOf(child.stdout), stderr: await textOf(child.stderr) };
  };
  const prompt = ["--threads", "1", "--prompt", "the king and the queen of the people went to the sea"];
  // The output exceeds the pipe's buffer, so the rest must be flushed after the command has finished.
  const slow = await pipe("sleep 0.5; grep -c 'the king'", ...prompt, "-n", "2000", "--max-tokens", "1");
  expect(slow.stdout).toBe("2000\n0\n");
  // The reader closes the pipe before all output has been written.
  const gone = await pipe("head -c 8", ...prompt, "-n", "200");
  expect(gone.stdout).toBe("the king0\n");
  expect(gone.stderr).toBe("");
});
