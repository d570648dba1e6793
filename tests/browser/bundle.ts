import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Files, filesIn } from "./chromium.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "../..");

/** Modules of other runtimes, which a page never loads. */
const EXTERNAL = ["node:*", "bun:*", "webgpu"];

/** Replacements for `node:` modules in suites that run in a page. */
const SHIMS: Record<string, string> = {
  "node:test": join(here, "shims/test.ts"),
  "node:assert/strict": join(here, "shims/assert.ts"),
  "node:fs/promises": join(here, "shims/fs.ts"),
};
export const shims: Bun.BunPlugin = {
  name: "shims",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path }) => (SHIMS[path] ? { path: SHIMS[path] } : undefined));
  },
};

/**
 * Bundles a page's script with the runtime: `/<name>.js` and its chunks, with the runtime's worker and kernels in `/reflow/`,
 * the layout that the option `assets` in runtime/backend/wasm/mod.ts describes.
 */
export async function bundle(script: string, plugins: Bun.BunPlugin[] = []): Promise<Files> {
  const app = await Bun.build({
    entrypoints: [join(here, script)],
    target: "browser",
    splitting: true,
    minify: true,
    external: EXTERNAL,
    plugins,
  });
  const worker = await Bun.build({
    entrypoints: [join(root, "runtime/backend/wasm/worker.ts")],
    target: "browser",
  });
  return {
    ...Object.fromEntries(app.outputs.map((file) => [join("/", file.path), file])),
    "/reflow/worker.js": worker.outputs[0],
    ...filesIn(join(root, "kernels-as/build"), "/reflow"),
  };
}

/** An HTML page that loads one script. */
export function html(script: string): Blob {
  const icon = '<link rel="icon" href="data:,">';
  return new Blob([`<!doctype html>${icon}<script type="module" src="${script}"></script>`], {
    type: "text/html",
  });
}
