import { test } from "node:test";
import { createWebgpuBackend } from "../../../runtime/backend/webgpu/mod.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { opSuite } from "./op-suite.ts";

// A software renderer compiles each shape for some seconds; in Deno the slowest part of it cannot be disabled.
const runs = "Deno" in globalThis ? 2 : 5;

if (noAdapter) test(`ops on webgpu: ${noAdapter}`, { skip: true }, () => {});
else opSuite("webgpu", createWebgpuBackend, { runs });
