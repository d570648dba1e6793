/** The playground's files, built when the first is asked for. */
import { existsSync, openAsBlob, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { getMimeType } from "hono/utils/mime";
import { ReflowError } from "../runtime/common/errors.ts";
import { HELD_OUT } from "../runtime/formats/checkpoint-tensors.ts";
import { licensesOf } from "./licenses.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const page = join(here, "playground");
const kernels = join(here, "../kernels-as/build");

const STYLES = ["style.css", "steer.css", "views.css"];
/** Modules of other hosts, which a page never loads. */
const EXTERNAL = ["node:*", "bun:*", "webgpu"];

/** By their path from the page's own on; the page is `index.html`. */
export type PageFiles = Map<string, Blob>;

/**
 * Builds the page: its scripts, the runtime's worker and kernels in `reflow/`, and `licenses.txt`. The model that a page fetches for itself, in
 * `model/`, is not among them.
 *
 * @throws ReflowError `usage` where the kernels aren't built
 */
export async function buildPage(): Promise<PageFiles> {
  const names = existsSync(kernels) ? readdirSync(kernels).filter((name) => name.endsWith(".wasm")) : [];
  if (names.length === 0) {
    throw new ReflowError("usage", "the WASM kernels are not built", "run `bun run prepare-kernels`");
  }
  const bundle = "Bun" in globalThis ? bundleInBun : bundleInDeno;
  // One after the other: two of Deno's that find no bundler fetch it both, into each other's files.
  const scripts = [
    ...(await bundle(join(page, "main.tsx"))),
    ...(await bundle(join(page, "local-worker.ts"))),
  ];
  const threads = await bundle(join(here, "../runtime/backend/wasm/worker.ts"));
  const files = [
    ...["index.html", ...STYLES].map((name) => [name, join(page, name)]),
    ...names.map((name) => [`reflow/${name}`, join(kernels, name)]),
  ];
  const bundled = [...scripts, ...threads.map(([name, file]) => [`reflow/${name}`, file] as const)];
  const isMap = ([name]: Named) => name.endsWith(".map");
  const licenses = licensesOf(await Promise.all(bundled.filter(isMap).map(([, map]) => map.text())));
  return new Map<string, Blob>([
    ...bundled.filter((file) => !isMap(file)),
    ["licenses.txt", new Blob([licenses], { type: getMimeType("licenses.txt") })],
    ...(await Promise.all(files.map(async ([name, path]) => [name, await open(path)] as const))),
  ]);
}

type Named = readonly [name: string, file: Blob];

async function bundleInBun(entrypoint: string): Promise<Named[]> {
  const { outputs } = await Bun.build({
    entrypoints: [entrypoint],
    target: "browser",
    splitting: true,
    minify: true,
    sourcemap: "external",
    external: EXTERNAL,
    define: { "process.env.NODE_ENV": '"production"' },
  });
  return outputs.map((file) => [basename(file.path), file]);
}

/** As much of Deno as is needed: its types are none of Bun's. With `--unstable-bundle`. */
declare const Deno: {
  bundle(options: {
    entrypoints: string[];
    /** Names what isn't written. */
    outputDir: string;
    write: false;
    platform: "browser";
    codeSplitting: true;
    minify: true;
    sourcemap: "external";
    external: string[];
  }): Promise<{
    errors: { text: string }[];
    /** Unless something failed. */
    outputFiles?: { path: string; contents: Uint8Array<ArrayBuffer> }[];
  }>;
};

async function bundleInDeno(entrypoint: string): Promise<Named[]> {
  const { errors, outputFiles } = await Deno.bundle({
    entrypoints: [entrypoint],
    outputDir: here,
    write: false,
    platform: "browser",
    codeSplitting: true,
    minify: true,
    sourcemap: "external",
    external: EXTERNAL,
  });
  if (!outputFiles) {
    // It looks for packages where it is started.
    const help = "start it in the project's folder, as `deno task server` does";
    throw new ReflowError("usage", `${basename(entrypoint)} can't be bundled: ${errors[0]?.text}`, help);
  }
  return outputFiles.map(({ path, contents }) => [
    basename(path),
    new Blob([contents], { type: getMimeType(path) }),
  ]);
}

const open = (path: string): Promise<Blob> => openAsBlob(path, { type: getMimeType(path) });

/** What a page fetches of a checkpoint: as many of them as there are. */
const MODEL_FILES = [
  "config.json",
  "manifest.json",
  "tokenizer.json",
  "model.int8.safetensors",
  "model.safetensors",
  HELD_OUT,
];

/**
 * Files of the playground, by their path from `/` on: for `Services.assets`.
 *
 * @param model the folder of the checkpoint that is `/model/`, for the engine that runs in the browser
 */
export function assets(model: string): (path: string) => Promise<Response | undefined> {
  let built: Promise<Map<string, Tagged>> | undefined;
  const build = async () => {
    const ofPage = [...(await buildPage())].map(
      async ([name, file]) => [name, { file, tag: await hashOf(file) }] as const,
    );
    const ofModel = MODEL_FILES.filter((name) => existsSync(join(model, name))).map(async (name) => {
      const path = join(model, name);
      // Weights may be too large to be read for this.
      const { size, mtimeMs } = statSync(path);
      return [`model/${name}`, { file: await open(path), tag: `${size}-${mtimeMs}` }] as const;
    });
    return new Map(await Promise.all([...ofPage, ...ofModel]));
  };
  return async (path) => {
    built ??= build().catch((error: unknown) => {
      // Deno fetches what bundles: the network may be back the next time.
      built = undefined;
      throw error;
    });
    const found = (await built).get(path === "/" ? "index.html" : path.slice(1));
    if (!found) return undefined;
    const { file, tag } = found;
    const headers = {
      "content-type": file.type,
      // Bun would tell those who ask for the head alone that there is nothing.
      "content-length": String(file.size),
      "cache-control": "no-cache",
      etag: `"${tag}"`,
    };
    return new Response(file, { headers });
  };
}

/** `tag` is another one when the file is. */
interface Tagged {
  file: Blob;
  tag: string;
}

async function hashOf(file: Blob): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return new Uint8Array(digest).toHex().slice(0, 32);
}
