// Runs in a page: the suites shared by all runtimes, on the device named in the query (`?wasm`, `?webgpu`).
import type { Backend } from "../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../runtime/backend/wasm/mod.ts";
import { createWebgpuBackend } from "../../runtime/backend/webgpu/mod.ts";
import { opSuite } from "../runtime/backend/op-suite.ts";
import { oracleSuite } from "../runtime/transformer/oracle-suite.ts";
import { type Result, run } from "./shims/test.ts";

const assets = new URL("/reflow/", location.href);
const DEVICES: Record<string, { make: () => Promise<Backend>; lossTolerance: number; runs: number }> = {
  wasm: { make: () => createWasmBackend({ threads: 2, assets }), lossTolerance: 1e-5, runs: 5 },
  webgpu: { make: () => createWebgpuBackend(), lossTolerance: 1e-4, runs: 1 },
};

const name = location.search.slice(1);
const { make, lossTolerance, runs } = DEVICES[name];
let device = "";
async function makeBackend(): Promise<Backend> {
  const backend = await make();
  device = backend.description;
  return backend;
}
opSuite(name, makeBackend, { runs });
oracleSuite(name, makeBackend, { lossTolerance });

/** The result that the test waits for. */
export interface Report {
  device: string;
  results: Result[];
}
const report = run().then((results): Report => ({ device, results }));
Object.assign(globalThis, { report });
