/** `results.json`: what a run of the suite found, and about which model. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import type { SuiteResults } from "../../runtime/experiments/suite.ts";
import { asData } from "../../runtime/host/files.ts";

const FORMAT = "reflow-probe-results";

/** It holds no times and no paths, so that the same seed, engine, kernels and thread count give the same bytes. */
export interface Results extends SuiteResults {
  readonly model: ModelConfig & { readonly parameters: number };
  /** Absent where the checkpoint doesn't say. */
  readonly trained?: { readonly steps: number; readonly tokens: number };
  /** SHA-256 of the weights of the models beside it. */
  readonly beside: { readonly twin?: string; readonly topk?: string; readonly seeds: readonly string[] };
  readonly text: { readonly tokens: number };
}

export const RESULTS = "results.json";
export const REPORT = "report.html";

export const encodeResults = (results: Results): string =>
  `${JSON.stringify({ format: FORMAT, ...results }, null, 1)}\n`;

/**
 * Reads a file of results, or a folder's.
 *
 * @throws ReflowError `data` where there is none
 */
export function readResults(path: string): Results {
  const file = asData(path, () => statSync(path)).isDirectory() ? join(path, RESULTS) : path;
  const text = asData(file, () => readFileSync(file, "utf8"));
  const wrong = (message: string, cause?: unknown) =>
    new ReflowError("data", `${file}: ${message}`, `give a ${RESULTS} that \`bun run cli probe\` wrote`, {
      cause,
    });
  let json: (Results & { format?: unknown }) | null;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw wrong((cause as Error).message, cause);
  }
  if (json?.format !== FORMAT) throw wrong("not probe results");
  const { format: _, ...results } = json;
  return results;
}
