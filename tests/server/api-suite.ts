import type { ApiTests } from "./api.ts";
import { generationTests } from "./api-generation.ts";
import { inspectionTests } from "./api-inspection.ts";

/** The tests that run against every server on every runtime, with any small model whose vocabulary has common words. */
export const apiTests: ApiTests = { ...generationTests, ...inspectionTests };
