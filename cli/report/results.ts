/** `results.json`: the results of a run of the suite, and the model they are about. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ReflowError } from "../../runtime/common/errors.ts";
import type { ModelConfig } from "../../runtime/config/config.ts";
import type { SuiteResults } from "../../runtime/experiments/suite.ts";
import { wrapFileErrors } from "../../runtime/host/files.ts";

const FORMAT = "reflow-probe-results";

/** Contains no times or paths, so that the same seed, engine, kernels and thread count reproduce the file byte for byte. */
export interface Results extends SuiteResults {
  readonly model: ModelConfig & { readonly parameters: number };
  /** Absent if the checkpoint does not record it. */
  readonly trained?: { readonly steps: number; readonly tokens: number };
  /** SHA-256 of the weights of the models that it was compared with. */
  readonly beside: { readonly twin?: string; readonly topk?: string; readonly seeds: readonly string[] };
  readonly text: { readonly tokens: number };
}

export const RESULTS = "results.json";
export const REPORT = "report.html";

export const encodeResults = (results: Results): string =>
  `${JSON.stringify({ format: FORMAT, ...results }, null, 1)}\n`;

/**
 * Reads `results.json`, given the file or its folder.
 *
 * @throws ReflowError `data` if there is no such file or it is not valid
 */
export function readResults(path: string): Results {
  const file = wrapFileErrors(path, () => statSync(path)).isDirectory() ? join(path, RESULTS) : path;
  const text = wrapFileErrors(file, () => readFileSync(file, "utf8"));
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
