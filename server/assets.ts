/** The playground's files, built when the first is asked for. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ReflowError } from "../runtime/errors.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const page = join(here, "playground");
const kernels = join(here, "../kernels-as/build");
const model = join(here, "model");

/** Modules of other hosts, which a page never loads. */
const EXTERNAL = ["node:*", "bun:*", "webgpu"];

/** By their path from the page's own on; the page is `index.html`. */
export type PageFiles = Map<string, Blob>;

/**
 * Builds the page: its scripts, and the runtime's worker and kernels in `reflow/`. The model that a page fetches for itself, in
 * `model/`, is not among them.
 *
 * @throws ReflowError `usage` outside Bun, which is what builds it, and where the kernels aren't built
 */
export async function buildPage(): Promise<PageFiles> {
  if (!("Bun" in globalThis)) {
    throw new ReflowError("usage", "the page is built by Bun", "run this with Bun");
  }
  const build = async (entrypoint: string) => {
    const { outputs } = await Bun.build({
      entrypoints: [entrypoint],
      target: "browser",
      splitting: true,
      minify: true,
      external: EXTERNAL,
      define: { "process.env.NODE_ENV": '"production"' },
    });
    return outputs.map((file) => [file.path.replace(/^\.?\//, ""), file] as const);
  };
  const scripts = await Promise.all(["main.tsx", "local-worker.ts"].map((name) => build(join(page, name))));
  const threads = await build(join(here, "../runtime/backend/wasm/worker.ts"));
  const names = [...new Bun.Glob("*.wasm").scanSync(kernels)];
  if (names.length === 0) {
    throw new ReflowError("usage", "the WASM kernels are not built", "run `bun run prepare-kernels`");
  }
  return new Map<string, Blob>([
    ["index.html", Bun.file(join(page, "index.html"))],
    ["style.css", Bun.file(join(page, "style.css"))],
    ...scripts.flat(),
    ...threads.map(([name, file]) => [`reflow/${name}`, file] as const),
    ...names.map((name) => [`reflow/${name}`, Bun.file(join(kernels, name))] as const),
  ]);
}

/** What a page fetches of a checkpoint. */
export const MODEL_FILES = ["config.json", "tokenizer.json", "model.int8.safetensors"];

let built: Promise<PageFiles> | undefined;
const tags = new Map<Blob, Promise<string>>();

/**
 * A file of the playground, or undefined: for `Services.assets`. In `/model/` is the model that ships, for the engine that runs in
 * the browser.
 *
 * @param path from `/` on
 */
export async function assets(path: string): Promise<Response | undefined> {
  if (!("Bun" in globalThis)) return undefined;
  built ??= buildPage().then(
    (files) =>
      new Map([
        ...files,
        ...MODEL_FILES.map((name) => [`model/${name}`, Bun.file(join(model, name))] as const),
      ]),
  );
  const file = (await built).get(path === "/" ? "index.html" : path.slice(1));
  if (!file) return undefined;
  let tag = tags.get(file);
  if (!tag) {
    tag = tagOf(file);
    tags.set(file, tag);
  }
  return new Response(file, {
    headers: { "content-type": file.type, "cache-control": "no-cache", etag: await tag },
  });
}

async function tagOf(file: Blob): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return `"${new Uint8Array(digest).toHex().slice(0, 32)}"`;
}
