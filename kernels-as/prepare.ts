/**
 * Runs before every command: installs the packages that the lock file names and builds the kernels, if either changed
 * since the last time. Uses nothing that isn't part of Bun, Deno or Node, since it runs before anything is installed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

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

/** Runs `work` unless the stamp file says that it was done for just these files. */
async function once(stamp: string, files: string[], work: () => void | Promise<void>): Promise<void> {
  const print = fingerprint(files);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === print) return;
  await work();
  writeFileSync(stamp, print);
}

function install(): void {
  if (!process.versions.bun) {
    if (existsSync(join(root, "node_modules/assemblyscript"))) return;
    throw new Error("node_modules is missing: run `deno install` (or `bun install`) first");
  }
  console.error("Installing packages (first run) …");
  const result = spawnSync(process.execPath, ["install", "--frozen-lockfile"], {
    cwd: root,
    encoding: "utf8",
  });
  if (result.status !== 0) {
    console.error(result.stdout + result.stderr);
    console.error("Installing packages failed. Is the npm registry within reach? `bun install` tries again.");
    process.exit(1);
  }
}

async function buildKernels(): Promise<void> {
  console.error("Building the kernels (first run) …");
  mkdirSync(build, { recursive: true });
  const { microkernelSource } = await import("./microkernel.ts");
  const asc = await import("assemblyscript/asc");
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
        "4096",
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
    // Renamed into place, so that a command running beside this one never reads half a module.
    const path = join(build, `${name}.wasm`);
    writeFileSync(`${path}.${process.pid}`, wasm);
    renameSync(`${path}.${process.pid}`, path);
  }
}

const lock = [join(root, "package.json"), join(root, "bun.lock")];
await once(join(root, "node_modules/.reflow-installed"), lock, install);
const kernels = readdirSync(sources).map((file) => join(sources, file));
kernels.push(join(here, "microkernel.ts"), join(here, "prepare.ts"), lock[1]);
mkdirSync(build, { recursive: true });
await once(join(build, "stamp"), kernels.sort(), buildKernels);
