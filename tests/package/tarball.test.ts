/** The published package: packed, installed into an empty project, and used in Bun, Deno and Node.js. */
import { beforeAll, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
/** Scripts of npm find Bun, also where it was not on the path. */
const env = { ...process.env, PATH: [dirname(process.execPath), process.env.PATH].join(delimiter) };

const HOSTS: Record<string, string[]> = {
  Bun: [process.execPath],
  Deno: [...(Bun.which("deno") ? ["deno"] : ["npx", "--yes", "deno@2.9.6"]), "run", "-A"],
  "Node.js": ["node"],
};

/** The library example of the README, word for word. */
const EXAMPLE = /```js\n(.*?)```/s.exec(readFileSync(join(root, "README.md"), "utf8"))![1];

const TYPED = `
import { hc } from "hono/client";
import { bundledModel, loadModel, type Model, openCheckpoint, quantizeCheckpoint } from "reflow";
import { EXPERIMENTS, runSuite } from "reflow/experiments";
import { type AppType, createApp } from "reflow/server";
import { AdamW, resolveSettings, TrainableModel, trainModel } from "reflow/trainer";

export const model: Promise<Model> = loadModel(bundledModel());
export const lr: number = resolveSettings({ preset: "tiny" }).trajectory.lr;
export const answer = hc<AppType>("http://127.0.0.1:8080").v1.models.$get();
export const used = [AdamW, createApp, EXPERIMENTS, openCheckpoint, quantizeCheckpoint, runSuite, TrainableModel, trainModel];
// @ts-expect-error: a path was expected
loadModel(3);
`;

let project: string;

function run(cwd: string, [program, ...args]: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, env, encoding: "utf8" });
  return { status, stdout, stderr };
}

function succeed(cwd: string, command: readonly string[]): string {
  const { status, stdout, stderr } = run(cwd, command);
  if (status !== 0) throw new Error(`${command.join(" ")} failed:\n${stdout}${stderr}`);
  return stdout;
}

const reflow = (...args: string[]) => run(project, ["npx", "--no-install", "reflow", ...args]);

function sizeOf(folder: string): number {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.map((name) => statSync(join(folder, name)).size).reduce((a, b) => a + b, 0);
}

beforeAll(() => {
  project = temporaryFolder({ "package.json": '{ "private": true, "type": "module" }' });
  succeed(root, ["npm", "pack", "--pack-destination", project]);
  const tarball = `reflow-${manifest.version}.tgz`;
  succeed(project, ["npm", "install", "--no-audit", "--no-fund", `./${tarball}`]);
}, 120_000);

test("the installed package is small and brings no compiler and no optional package", () => {
  const modules = join(project, "node_modules");
  expect(sizeOf(modules)).toBeLessThan(40e6);
  for (const name of ["typescript", "assemblyscript", "binaryen", "webgpu", "preact"]) {
    expect(existsSync(join(modules, name))).toBe(false);
  }
});

for (const [host, command] of Object.entries(HOSTS)) {
  test(`${host} loads the bundled model and generates text`, () => {
    writeFileSync(join(project, "example.mjs"), EXAMPLE);
    const output = succeed(project, [...command, "example.mjs"]);
    expect(output).toMatch(/^,? there was .*-?\d\.\d+\n/s);
    expect(output).toContain("queen");
  }, 60_000);
}

test("the command reflow lists its commands, also those of the trainer and the server", () => {
  const { status, stdout } = reflow("--help");
  expect(status).toBe(0);
  expect(stdout).toContain("Usage: reflow ");
  for (const name of ["train", "serve", "probe", "sample"])
    expect(stdout).toMatch(new RegExp(`\\b${name}\\b`));
  expect(stdout).not.toContain("bun run");
  expect(reflow("train", "--help").stdout).toContain("Usage: reflow train ");
  expect(reflow("serve", "--help").stdout).toContain("Usage: reflow serve ");
}, 20_000);

test("without the package webgpu, --device webgpu fails with the command that installs it", () => {
  const model = "node_modules/reflow/dist/server/model";
  const { status, stderr } = reflow("sample", model, "--prompt", "a", "--device", "webgpu");
  expect(status).toBe(2);
  expect(stderr).toContain(`npm install webgpu@${manifest.peerDependencies.webgpu}`);
}, 20_000);

test("reflow serve in Node.js answers requests and serves the playground", async () => {
  const entry = "node_modules/reflow/dist/cli/reflow.js";
  const server = spawn("node", [entry, "serve", "--port", "0"], { cwd: project, stdio: "pipe" });
  try {
    let output = "";
    const address = await new Promise<string>((resolve, reject) => {
      server.stderr.on("data", (chunk) => {
        output += chunk;
        const found = output.match(/http:\S+/);
        if (found) resolve(found[0]);
      });
      server.on("exit", () => reject(new Error(`the server ended: ${output}`)));
    });
    const page = await fetch(address);
    expect(await page.text()).toContain("<!doctype html>");
    const script = await fetch(new URL("main.js", address));
    expect(script.headers.get("content-type")).toContain("javascript");
    const body = JSON.stringify({ model: "nano", prompt: "The people", max_tokens: 3 });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(new URL("v1/completions", address), { method: "POST", headers, body });
    expect((await answer.json()).usage.completion_tokens).toBe(3);
  } finally {
    server.kill("SIGKILL");
  }
}, 30_000);

test("the types of every entry resolve, without types of other packages", () => {
  writeFileSync(join(project, "typed.ts"), TYPED);
  const flags = "--ignoreConfig --noEmit --strict --skipLibCheck false --target es2023 --lib esnext,dom";
  const resolution = "--module nodenext --moduleResolution nodenext";
  const args = [...flags.split(" "), ...resolution.split(" "), "--types", "", "typed.ts"];
  succeed(project, [join(root, "node_modules/.bin/tsc"), ...args]);
}, 60_000);
