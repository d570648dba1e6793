/** `bun server/build-worker.ts [FOLDER]`: builds what `wrangler.jsonc` deploys. Default folder: dist/worker. */
import { copyFileSync, cpSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPage } from "./assets.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * Builds the worker into a folder: `code/worker.js`; `code/kernels.wasm`, a separate module, since Workers cannot compile WASM at
 * run time; and `assets/`, with the playground and the bundled model. (In `code`, wrangler would upload the assets as modules.)
 */
export async function buildWorker(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  await Bun.build({
    entrypoints: [join(root, "server/worker.ts")],
    outdir: join(folder, "code"),
    target: "browser",
    conditions: ["workerd", "worker"],
    minify: true,
    // Modules of other hosts, which are imported only there.
    external: ["node:*", "webgpu"],
    plugins: [
      {
        name: "kernels",
        setup(build) {
          build.onResolve({ filter: /\.wasm$/ }, () => ({ path: "./kernels.wasm", external: true }));
        },
      },
    ],
  });
  copyFileSync(join(root, "kernels-as/build/relaxed-plain.wasm"), join(folder, "code/kernels.wasm"));
  for (const [name, file] of await buildPage()) await Bun.write(join(folder, "assets", name), file);
  cpSync(join(root, "server/model"), join(folder, "assets/model"), { recursive: true });
}

if (import.meta.main) {
  const folder = process.argv[2] ?? join(root, "dist/worker");
  await buildWorker(folder);
  for (const name of ["code/worker.js", "code/kernels.wasm"]) {
    const path = join(folder, name);
    console.log(`${path}  ${(statSync(path).size / 1024).toFixed(0)} KiB`);
  }
}
