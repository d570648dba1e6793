import { test } from "node:test";
import { createWebgpuBackend } from "../../../runtime/backend/webgpu/mod.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { oracleSuite } from "./oracle-suite.ts";

if (noAdapter) test(`oracle on webgpu: ${noAdapter}`, { skip: true }, () => {});
else oracleSuite("webgpu", createWebgpuBackend, { lossTolerance: 1e-4 });
