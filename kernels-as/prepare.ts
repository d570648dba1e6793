/**
 * Runs before every command: installs the packages of the lock file and builds the kernels, if either changed since the
 * last time. It installs what running requires; with `--all`, also what tests and checks require. It uses only built-in
 * modules of Bun, Deno and Node.js, because it runs before anything is installed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const here = join(root, "kernels-as");
const sources = join(here, "assembly");
const build = join(here, "build");

/** {baseline, relaxed SIMD} × {plain, shared memory}: a module that imports one kind of memory rejects the other. */
const BUILDS: Record<string, string[]> = {
  "baseline-plain": [],
  "baseline-shared": ["--enable", "threads", "--sharedMemory"],
  "relaxed-plain": ["--enable", "relaxed-simd"],
  "relaxed-shared": ["--enable", "relaxed-simd", "--enable", "threads", "--sharedMemory"],
};

function fingerprint(files: string[]): string {
  const hash = createHash("sha256");
  for (const file of files)
    hash.update(file.slice(root.length)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

const isCurrent = (stamp: string, print: string) =>
  existsSync(stamp) && readFileSync(stamp, "utf8") === print;

const host = process.versions.bun ? "bun" : "deno";

/** Arguments of the package manager. */
const INSTALL = {
  // Optional peers, among them TypeScript and webgpu, are in the lock file, and would be installed too.
  bun: { run: ["--frozen-lockfile", "--production", "--omit=peer"], all: ["--frozen-lockfile"] },
  deno: { run: ["--prod"], all: [] },
};

/** Runs the package manager of the current host, and ends the process if that fails. */
function runInstall(cwd: string, args: readonly string[], message: string): void {
  process.stderr.write(`${message} …\n`);
  const result = spawnSync(process.execPath, ["install", ...args], { cwd, encoding: "utf8" });
  if (result.status === 0) return;
  console.error(result.stdout + result.stderr);
  console.error("Installing packages failed. Check that the npm registry can be reached, and try again.");
  process.exit(1);
}

/** Installs the project's packages, unless they are current. Deno uses packages that Bun installed. */
function install(): void {
  const print = fingerprint(["package.json", "bun.lock"].map((file) => join(root, file)));
  const stamp = (by: string, what: string) => join(root, `node_modules/.reflow-${by}-${what}`);
  // Never removes the development packages: Biome is one.
  const hasAll = existsSync(join(root, "node_modules/@biomejs/biome"));
  const what = hasAll || process.argv.includes("--all") ? "all" : "run";
  if (["bun", host].some((by) => isCurrent(stamp(by, what), print))) return;
  runInstall(root, INSTALL[host][what], "Installing packages");
  writeFileSync(stamp(host, what), print);
  // Both hosts looked for node_modules when they started: the rest requires a process that finds the packages.
  const script = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const args = host === "deno" ? ["run", "-A", ...script] : script;
  process.exit(spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1);
}

/**
 * The AssemblyScript compiler (100 MB with its dependencies), which only a build of the kernels requires: the project's, or one
 * that is installed in a temporary folder for the duration of the build.
 */
async function withCompiler<T>(use: (asc: typeof import("assemblyscript/asc")) => Promise<T>): Promise<T> {
  const path = "node_modules/assemblyscript";
  const { devDependencies, overrides } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const version: string = devDependencies.assemblyscript;
  const installed = join(root, path, "package.json");
  const isInstalled =
    existsSync(installed) && JSON.parse(readFileSync(installed, "utf8")).version === version;
  const folder = isInstalled ? root : mkdtempSync(join(tmpdir(), "reflow-compiler-"));
  try {
    if (!isInstalled) {
      const manifest = { name: "reflow", dependencies: { assemblyscript: version }, overrides };
      writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
      // Pins the compiler's own dependencies.
      if (host === "bun") copyFileSync(join(root, "bun.lock"), join(folder, "bun.lock"));
      runInstall(folder, [], "Fetching the compiler of the kernels");
    }
    return await use(await import(pathToFileURL(join(folder, path, "dist/asc.js")).href));
  } finally {
    if (!isInstalled) rmSync(folder, { recursive: true, force: true });
  }
}

async function buildKernels(asc: typeof import("assemblyscript/asc")): Promise<void> {
  process.stderr.write("Building the kernels …\n");
  mkdirSync(build, { recursive: true });
  const { microkernelSource } = await import("./microkernel.ts");
  const { CONTROL_BYTES } = await import("./assembly/layout.ts");
  const generated = microkernelSource();
  for (const [name, flags] of Object.entries(BUILDS)) {
    let wasm: Uint8Array | undefined;
    const { error, stderr } = await asc.main(
      [
        "index.ts",
        "--outFile",
        "kernels.wasm",
        "-O3",
        "--noAssert",
        "--runtime",
        "stub",
        "--importMemory",
        "--memoryBase",
        String(CONTROL_BYTES),
        "--initialMemory",
        "2",
        "--maximumMemory",
        "65536",
        "--enable",
        "simd",
        ...flags,
      ],
      {
        readFile: (file: string, base: string) => {
          if (file === "microkernel.gen.ts") return generated;
          const path = join(base === "." ? sources : join(sources, base), file);
          return existsSync(path) ? readFileSync(path, "utf8") : null;
        },
        writeFile: (_: string, contents: string | Uint8Array) => {
          if (contents instanceof Uint8Array) wasm = contents;
        },
        listFiles: () => [],
      },
    );
    if (error || !wasm) {
      console.error(stderr.toString());
      console.error(`The kernels did not compile (${name}).`);
      process.exit(1);
    }
    // Renamed into place, so that a command that runs at the same time never reads half a module.
    const path = join(build, `${name}.wasm`);
    writeFileSync(`${path}.${process.pid}`, wasm);
    renameSync(`${path}.${process.pid}`, path);
  }
}

install();
const kernels = [
  ...readdirSync(sources).map((file) => join(sources, file)),
  ...["microkernel.ts", "prepare.ts"].map((file) => join(here, file)),
  join(root, "bun.lock"),
];
const print = fingerprint(kernels.sort());
if (!isCurrent(join(build, "stamp"), print)) {
  await withCompiler(buildKernels);
  writeFileSync(join(build, "stamp"), print);
}
