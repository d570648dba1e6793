import type { Backend } from "../../runtime/backend/contract/backend.ts";
import type { Build } from "../../runtime/backend/wasm/kernels.ts";
import { createWasmBackend } from "../../runtime/backend/wasm/mod.ts";

const BUILDS: Build[] = ["baseline-plain", "baseline-shared", "relaxed-plain", "relaxed-shared"];

/** Every build of the kernels, with two threads if memory is shared. */
export const WASM_BUILDS: [name: string, make: () => Promise<Backend>][] = BUILDS.map((build) => {
  const threads = build.endsWith("shared") ? 2 : 1;
  return [`wasm ${build}`, () => createWasmBackend({ build, threads })];
});
