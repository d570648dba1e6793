import { test } from "node:test";
import { createWebgpuBackend } from "../../../runtime/backend/webgpu/mod.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { opSuite } from "./op-suite.ts";

// Each shape is compiled for some seconds by a software GPU; Deno has no switch for the slowest part of it.
const runs = "Deno" in globalThis ? 2 : 5;

if (noAdapter) test(`ops on webgpu: ${noAdapter}`, { skip: true }, () => {});
else opSuite("webgpu", createWebgpuBackend, { runs });
