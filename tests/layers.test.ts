/**
 * The declared order of folders: each may import from those before it, never from those after it. This list is the only
 * place that states the order; docs/architecture.md draws it. A new folder goes after everything it imports.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ORDER: readonly string[] = [
  "kernels-as/assembly",
  "kernels-as",
  "runtime/common",
  "runtime/math",
  "runtime/backend/contract",
  "runtime/backend/wasm",
  "runtime/backend/webgpu/device",
  "runtime/backend/webgpu/kernels",
  "runtime/backend/webgpu",
  "runtime/backend",
  "runtime/config",
  "runtime/text",
  "runtime/formats",
  "runtime/host",
  "runtime/transformer",
  "runtime/patches",
  "runtime/interventions",
  "runtime/generation",
  "runtime/signals",
  "runtime/analysis",
  "runtime/model",
  "runtime/experiments/framework",
  "runtime/experiments/passes",
  "runtime/experiments/recipes",
  "runtime/experiments/signals",
  "runtime/experiments/lens",
  "runtime/experiments/steering",
  "runtime/experiments/patching",
  "runtime/experiments",
  "runtime",
  "trainer/data",
  "trainer/collective",
  "trainer/collective/mpi",
  "trainer/distributed",
  "trainer/settings",
  "trainer/monitoring",
  "trainer/loop",
  "trainer",
  "server/patches",
  "server/context",
  "server/middleware",
  "server/schemas",
  "server/routes",
  "server/playground/engine",
  "server/playground/state",
  "server/playground/components",
  "server/playground/views",
  "server/playground",
  "server",
  "cli/shared",
  "cli/report/markup",
  "cli/report/charts",
  "cli/report",
  "cli/bench",
  "cli/commands",
  "cli",
];

const root = fileURLToPath(new URL("..", import.meta.url));

const files = [
  ...new Bun.Glob("{kernels-as,runtime,trainer,server,cli}/**/*.{ts,tsx}").scanSync({ cwd: root }),
].sort();

/** A static or dynamic import, or a file that a worker is started from. */
const IMPORT = /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*|new URL\(\s*)"(\.{1,2}\/[^"]+)"/g;

/** The files of this repository that a file imports; what does not exist in a fresh clone (built kernels) is left out. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(IMPORT)]
    .map(([, specifier]) => normalize(join(dirname(file), specifier)))
    .flatMap((path) =>
      [path, `${path}.ts`].filter((each) => /\.tsx?$/.test(each) && existsSync(join(root, each))),
    );
}

const imports = new Map(files.map((file) => [file, importsOf(file)]));

test("every folder is declared", () => {
  const undeclared = [...new Set(files.map((file) => dirname(file)))].filter(
    (folder) => !ORDER.includes(folder),
  );
  expect(undeclared).toEqual([]);
});

test("imports point down the declared order", () => {
  const upward = [...imports].flatMap(([file, targets]) =>
    targets
      .filter((target) => ORDER.indexOf(dirname(target)) > ORDER.indexOf(dirname(file)))
      .map((target) => `${file} imports ${target}`),
  );
  expect(upward).toEqual([]);
});

test("the trainer and the server do not import each other", () => {
  const across = [...imports].flatMap(([file, targets]) =>
    targets
      .filter((target) =>
        [`${file} ${target}`].some((pair) => /^(trainer\/.* server\/|server\/.* trainer\/)/.test(pair)),
      )
      .map((target) => `${file} imports ${target}`),
  );
  expect(across).toEqual([]);
});

test("no files import each other in a cycle", () => {
  const state = new Map<string, "open" | "done">();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]) => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
      return;
    }
    state.set(file, "open");
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    state.set(file, "done");
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});
