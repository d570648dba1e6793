/** Runs the worker in miniflare, built as for deployment. */
import { readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";
import { buildWorker } from "../../server/build-worker.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** The configuration that wrangler uses. */
const config = Bun.JSONC.parse(
  readFileSync(fileURLToPath(new URL("../../server/wrangler.jsonc", import.meta.url)), "utf8"),
) as {
  compatibility_date: string;
  compatibility_flags: string[];
  durable_objects: { bindings: { name: string; class_name: string }[] };
  assets: { run_worker_first: boolean };
  vars: Record<string, string>;
};

/**
 * Limit of V8's heap, so that garbage is collected as in an isolate with 128 MiB; without it, the heap grew to 92 MiB here. The
 * 47 MiB of WASM memory are separate. (40 MiB suffice; with 12 MiB the worker runs out of memory.)
 */
const HEAP_MIB = 64;

/** Builds and starts the worker. @param model folder of a model that replaces the bundled one */
export async function startWorker(
  vars: Record<string, string> = {},
  model?: string,
): Promise<{ mf: Miniflare; url: URL; folder: string }> {
  const folder = temporaryFolder();
  await buildWorker(folder);
  if (model) {
    rmSync(join(folder, "assets/model"), { recursive: true });
    renameSync(model, join(folder, "assets/model"));
  }
  const module = (type: "ESModule" | "CompiledWasm", name: string) => {
    const path = join(folder, "code", name);
    return { type, path, contents: readFileSync(path) };
  };
  process.env.MINIFLARE_WORKERD_V8_FLAGS = `--max-heap-size=${HEAP_MIB}`;
  const mf = new Miniflare({
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    durableObjects: Object.fromEntries(
      config.durable_objects.bindings.map(({ name, class_name }) => [
        name,
        { className: class_name, useSQLite: true },
      ]),
    ),
    modulesRoot: join(folder, "code"),
    modules: [module("ESModule", "worker.js"), module("CompiledWasm", "kernels.wasm")],
    kvNamespaces: ["PATCHES"],
    assets: {
      directory: join(folder, "assets"),
      binding: "ASSETS",
      routerConfig: {
        has_user_worker: true,
        invoke_user_worker_ahead_of_assets: config.assets.run_worker_first,
      },
    },
    bindings: { ...config.vars, ...vars },
    inspectorPort: 0,
  });
  return { mf, url: await mf.ready, folder };
}

/** Memory of the worker's isolate in bytes, including garbage: V8's heap and array buffers, without WASM memory. */
export async function isolateBytes(mf: Miniflare): Promise<number> {
  const address = new URL("./core:user:", await mf.getInspectorURL());
  const socket = new WebSocket(address);
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, number>>();
  socket.onopen = () => socket.send(JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" }));
  socket.onmessage = ({ data }) => resolve(JSON.parse(data).result);
  socket.onerror = () => reject(new Error(`${address} does not respond`));
  const { totalSize, embedderHeapUsedSize, backingStorageSize } = await promise.finally(() => socket.close());
  return totalSize + embedderHeapUsedSize + backingStorageSize;
}
