/** The playground's files, built on the first request. */

import { existsSync, openAsBlob, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { getMimeType } from "hono/utils/mime";
import { toHex } from "../runtime/common/compatibility.ts";
import { ReflowError } from "../runtime/common/errors.ts";
import { HELD_OUT } from "../runtime/formats/checkpoint-tensors.ts";
import { licensesOf } from "./licenses.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const page = join(here, "playground");
const kernels = join(here, "../kernels-as/build");

const STYLES = ["style.css", "steer.css", "views.css"];
/** Modules of other hosts, which the page never loads. */
const EXTERNAL = ["node:*", "bun:*", "webgpu"];

/** Files by their path relative to the page, which is `index.html`. */
export type PageFiles = Map<string, Blob>;

/** The page of the published package, which comes built. */
const prebuilt = join(here, "page");

async function readPrebuilt(): Promise<PageFiles> {
  const names = readdirSync(prebuilt, { recursive: true }) as string[];
  const files = names.filter((name) => statSync(join(prebuilt, name)).isFile());
  const entries = files.map(
    async (name) => [name.replaceAll("\\", "/"), await open(join(prebuilt, name))] as const,
  );
  return new Map(await Promise.all(entries));
}

/**
 * Builds the page: its scripts, the runtime's worker and kernels in `reflow/`, and `licenses.txt`. The model in `model/`, which the
 * page fetches for in-browser mode, is not included.
 *
 * @throws ReflowError `usage` if the kernels are not built
 */
export async function buildPage(): Promise<PageFiles> {
  if (existsSync(prebuilt)) return readPrebuilt();
  const names = existsSync(kernels) ? readdirSync(kernels).filter((name) => name.endsWith(".wasm")) : [];
  if (names.length === 0) {
    throw new ReflowError("usage", "the WASM kernels are not built", "run `bun run prepare-kernels`");
  }
  const bundle = "Bun" in globalThis ? bundleInBun : bundleInDeno;
  // Sequential, because two concurrent calls of Deno.bundle would both download the bundler, to the same files.
  const scripts = [
    ...(await bundle(join(page, "main.tsx"))),
    ...(await bundle(join(page, "engine/local-worker.ts"))),
  ];
  const threads = await bundle(join(here, "../runtime/backend/wasm/worker.ts"));
  const files = [
    ["index.html", join(page, "index.html")],
    ...STYLES.map((name) => [name, join(page, "styles", name)]),
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

/** The part of Deno's API that is used here, available with `--unstable-bundle`; Bun's types do not include it. */
declare const Deno: {
  bundle(options: {
    entrypoints: string[];
    /** Base of the output paths; with `write: false` nothing is written there. */
    outputDir: string;
    write: false;
    platform: "browser";
    codeSplitting: true;
    minify: true;
    sourcemap: "external";
    external: string[];
  }): Promise<{
    errors: { text: string }[];
    /** Undefined if bundling failed. */
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
    // Deno resolves packages from the working directory.
    const help = "start the server in the project's folder, as `deno task server` does";
    throw new ReflowError("usage", `cannot bundle ${basename(entrypoint)}: ${errors[0]?.text}`, help);
  }
  return outputFiles.map(({ path, contents }) => [
    basename(path),
    new Blob([contents], { type: getMimeType(path) }),
  ]);
}

const open = (path: string): Promise<Blob> => openAsBlob(path, { type: getMimeType(path) });

/** Files of a checkpoint that the page fetches, if they exist. */
const MODEL_FILES = [
  "config.json",
  "manifest.json",
  "tokenizer.json",
  "model.int8.safetensors",
  "model.safetensors",
  HELD_OUT,
];

/**
 * Serves the playground's files by absolute URL path, for `Services.assets`.
 *
 * @param model folder of the checkpoint served as `/model/`, for in-browser mode
 */
export function assets(model: string): (path: string) => Promise<Response | undefined> {
  let built: Promise<Map<string, Tagged>> | undefined;
  const build = async () => {
    const ofPage = [...(await buildPage())].map(
      async ([name, file]) => [name, { file, tag: await hashOf(file) }] as const,
    );
    const ofModel = MODEL_FILES.filter((name) => existsSync(join(model, name))).map(async (name) => {
      const path = join(model, name);
      // Not a hash, since weights may be too large to read for it.
      const { size, mtimeMs } = statSync(path);
      return [`model/${name}`, { file: await open(path), tag: `${size}-${mtimeMs}` }] as const;
    });
    return new Map(await Promise.all([...ofPage, ...ofModel]));
  };
  return async (path) => {
    built ??= build().catch((error: unknown) => {
      // A failure is not cached: Deno downloads its bundler, and the network may be available at the next request.
      built = undefined;
      throw error;
    });
    const found = (await built).get(path === "/" ? "index.html" : path.slice(1));
    if (!found) return undefined;
    const { file, tag } = found;
    const headers = {
      "content-type": file.type,
      // Without it, Bun would answer HEAD requests with a length of 0.
      "content-length": String(file.size),
      "cache-control": "no-cache",
      etag: `"${tag}"`,
    };
    return new Response(file, { headers });
  };
}

/** A file, and an entity tag that changes with its content. */
interface Tagged {
  file: Blob;
  tag: string;
}

async function hashOf(file: Blob): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return toHex(new Uint8Array(digest)).slice(0, 32);
}
