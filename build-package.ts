/**
 * `bun build-package.ts`, which `npm pack` and `npm publish` run: fills `dist/` with what the published package contains.
 * That is the compiled code with its types, the kernels, the playground ready to serve, and the bundled model.
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPage } from "./server/assets.ts";

const root = fileURLToPath(new URL(".", import.meta.url));
const dist = join(root, "dist");

/** The commands of a clone, and their names in the package. */
const COMMANDS = [
  ["bun run trainer", "reflow train"],
  ["bun trainer/main.ts", "reflow train"],
  ["bun run server", "reflow serve"],
  ["bun run cli", "reflow"],
] as const;

function compile(): void {
  const { status } = spawnSync(process.execPath, ["x", "tsc", "--project", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(1);
}

function filesIn(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
}

/** Help texts and errors name the commands that the package has. */
function renameCommands(): void {
  for (const path of filesIn(dist)) {
    const text = readFileSync(path, "utf8");
    const renamed = COMMANDS.reduce((before, [from, to]) => before.replaceAll(from, to), text);
    if (renamed !== text) writeFileSync(path, renamed);
  }
}

async function copyAssets(): Promise<void> {
  const kernels = filesIn(join(root, "kernels-as/build")).filter((path) => path.endsWith(".wasm"));
  for (const path of kernels) cpSync(path, join(dist, path.slice(root.length)));
  cpSync(join(root, "server/model"), join(dist, "server/model"), { recursive: true });
  for (const [name, file] of await buildPage()) {
    const path = join(dist, "server/page", name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, new Uint8Array(await file.arrayBuffer()));
  }
}

rmSync(dist, { recursive: true, force: true });
compile();
renameCommands();
await copyAssets();
chmodSync(join(dist, "cli/reflow.js"), 0o755);
