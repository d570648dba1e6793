import { test } from "node:test";
import { createWebgpuBackend } from "../../../runtime/backend/webgpu/mod.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { opSuite } from "./op-suite.ts";

if (noAdapter) test(`ops on webgpu: ${noAdapter}`, { skip: true }, () => {});
else opSuite("webgpu", createWebgpuBackend, { runs: 5 });
