import type { ApiTests } from "./api.ts";
import { generationTests } from "./api-generation.ts";
import { readingTests } from "./api-reading.ts";

/** What every server does, on every runtime, with any model of ours whose tokens are few and common. */
export const apiTests: ApiTests = { ...generationTests, ...readingTests };
