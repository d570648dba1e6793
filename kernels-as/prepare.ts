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

const isCurrent = (stamp: string, print: string) =>
  existsSync(stamp) && readFileSync(stamp, "utf8") === print;

/** By whichever runs this; Deno uses what Bun has installed. */
function install(files: string[]): void {
  const print = fingerprint(files);
  const stamp = (by: string) => join(root, `node_modules/.reflow-${by}`);
  const by = process.versions.bun ? "bun" : "deno";
  if (isCurrent(stamp("bun"), print) || isCurrent(stamp(by), print)) return;
  process.stderr.write("Installing packages …\n");
  const args = by === "bun" ? ["install", "--frozen-lockfile"] : ["install"];
  const result = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  if (result.status !== 0) {
    console.error(result.stdout + result.stderr);
    console.error(
      `Installing packages failed. Is the npm registry within reach? \`${by} install\` tries again.`,
    );
    process.exit(1);
  }
  writeFileSync(stamp(by), print);
  if (by === "bun") return;
  // Deno looked at node_modules when it started: the rest is for a process that finds the packages there.
  const again = spawnSync(process.execPath, ["run", "-A", fileURLToPath(import.meta.url)], {
    stdio: "inherit",
  });
  process.exit(again.status ?? 1);
}

async function buildKernels(): Promise<void> {
  process.stderr.write("Building the kernels …\n");
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

const lock = join(root, "bun.lock");
install([join(root, "package.json"), lock]);
const kernels = [
  ...readdirSync(sources).map((file) => join(sources, file)),
  ...["microkernel.ts", "prepare.ts"].map((file) => join(here, file)),
  lock,
];
const print = fingerprint(kernels.sort());
if (!isCurrent(join(build, "stamp"), print)) {
  await buildKernels();
  writeFileSync(join(build, "stamp"), print);
}
