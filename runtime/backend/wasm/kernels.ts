import { ReflowError } from "../../common/errors.ts";

/** What `kernels-as/assembly/index.ts` exports. */
export interface KernelExports extends WebAssembly.Exports {
  run(op: number): void;
  work(thread: number, last: number): void;
  heapBase(): number;
}

export type Build = `${"baseline" | "relaxed"}-${"plain" | "shared"}`;

/** (module (func (result v128) relaxed_madd of three zero vectors)): engines without relaxed SIMD reject it. */
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0, 65, 0, 253, 15, 65, 0,
  253, 15, 65, 0, 253, 15, 253, 133, 2, 11,
]);

/** The best build this engine validates; `shared` where memory can be shared between threads. */
export function chooseBuild(shared: boolean): Build {
  return `${WebAssembly.validate(RELAXED_PROBE) ? "relaxed" : "baseline"}-${shared ? "shared" : "plain"}`;
}

/** Threads need shared memory, which a page has only when it is cross-origin isolated. */
export function canShareMemory(): boolean {
  return typeof SharedArrayBuffer === "function" && typeof Worker === "function";
}

/**
 * Compiles a build.
 *
 * @param assets the folder that it is in; the one it was built into where it isn't said
 */
export async function compileKernels(build: Build, assets?: URL): Promise<WebAssembly.Module> {
  const url = new URL(`${build}.wasm`, assets ?? new URL("../../../kernels-as/build/", import.meta.url));
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    throw new ReflowError(
      "device",
      `the WASM kernels (${build}) can't be loaded: ${(cause as Error).message}`,
      "build them with `bun kernels-as/prepare.ts`; a bundle says with `assets` where they are",
      { cause },
    );
  }
}
