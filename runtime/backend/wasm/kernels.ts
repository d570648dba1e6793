import { ReflowError } from "../../common/errors.ts";

/** The exports of `kernels-as/assembly/index.ts`. */
export interface KernelExports extends WebAssembly.Exports {
  run(op: number): void;
  work(thread: number, last: number): void;
  heapBase(): number;
  // Scratch memory that an op needs for each thread, in bytes.
  attentionScratch(length: number, headDim: number): number;
  attentionBackwardScratch(length: number, headDim: number): number;
  attentionCachedScratch(context: number): number;
  matvecScratch(rows: number, columns: number): number;
}

export type Build = `${"baseline" | "relaxed"}-${"plain" | "shared"}`;

/** `(module (func (result v128) …))` with a relaxed_madd of three zero vectors: engines without relaxed SIMD reject it. */
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0,
  253, 15, 65, 0, 253, 15, 253, 133, 2, 11,
]);

/** The fastest build that this engine validates, for shared or plain memory. */
export function chooseBuild(shared: boolean): Build {
  return `${WebAssembly.validate(RELAXED_PROBE) ? "relaxed" : "baseline"}-${shared ? "shared" : "plain"}`;
}

/**
 * Compiles a build.
 *
 * @param assets folder that contains the builds. Default: the folder that they are built into
 */
export async function compileKernels(build: Build, assets?: URL): Promise<WebAssembly.Module> {
  const url = new URL(`${build}.wasm`, assets ?? new URL("../../../kernels-as/build/", import.meta.url));
  try {
    return await WebAssembly.compile(await readAddress(url));
  } catch (cause) {
    throw new ReflowError(
      "device",
      `the WASM kernels (${build}) cannot be loaded: ${(cause as Error).message}`,
      "build them with `bun kernels-as/prepare.ts`; in a bundle, set `assets` to the folder that contains them",
      { cause },
    );
  }
}

async function readAddress(url: URL): Promise<BufferSource> {
  if (url.protocol === "file:") {
    // `fetch` of Node.js does not read files.
    const { readFile } = await import("node:fs/promises");
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response.arrayBuffer();
}
