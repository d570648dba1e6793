/** Converts request fields to options of the runtime. */
import { ReflowError } from "../../runtime/common/errors.ts";
import { invalidValue } from "../../runtime/common/validation.ts";
import type { GenerateOptions } from "../../runtime/generation/options.ts";
import type { RunOptions } from "../../runtime/interventions/prepare-run.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { GenePatch } from "../../runtime/patches/patch.ts";
import { tokenOf } from "../../runtime/text/expression.ts";
import type { RouteServices, Services } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import type { SavedPatch } from "../patches/store.ts";

/** @throws ApiError 404 if the server does not serve the requested model */
export function checkModel({ name }: Services, asked: string | undefined): void {
  if (asked === undefined || asked === name) return;
  const message = `there is no model ${JSON.stringify(asked.slice(0, 100))}`;
  throw new ApiError(404, "model_not_found", message, `use ${JSON.stringify(name)}`, {
    param: "model",
  });
}

/**
 * Token ids of a prompt, which may be empty.
 *
 * @throws ApiError 400 `context_length_exceeded` for more tokens than the context holds; a text that is certainly too long is
 *   rejected before it is tokenized
 */
export function idsOf(model: Model, prompt: string | readonly number[], where = "prompt"): Int32Array {
  const { context } = model.config;
  const tooLong = (length: string) =>
    new ApiError(
      400,
      "context_length_exceeded",
      `${where} has ${length}, but the context holds ${context} tokens`,
      "shorten it, for example by removing text from its beginning",
      { param: where },
    );
  if (typeof prompt !== "string") {
    if (prompt.length > context) throw tooLong(`${prompt.length} tokens`);
    return Int32Array.from(prompt);
  }
  // Each character takes at least one byte.
  if (prompt.length > context * model.tokenizer.longest) throw tooLong(`${prompt.length} characters`);
  const ids = model.tokenize(prompt);
  if (ids.length > context) throw tooLong(`${ids.length} tokens`);
  return ids;
}

/** As {@link idsOf}, for an input that must not be empty. @throws ReflowError `data` if it is */
export function nonEmptyIdsOf(model: Model, input: string | readonly number[], where: string): Int32Array {
  const ids = idsOf(model, input, where);
  if (ids.length > 0) return ids;
  throw new ReflowError("data", `${where} is empty`, "give at least one token");
}

/** @throws ReflowError `usage` if there is no such token */
export function tokenIdOf({ config, tokenizer }: Model, token: string | number, where = "target"): number {
  const rows = Math.min(tokenizer.vocabSize, config.vocab_size);
  if (typeof token === "string") return tokenOf(tokenizer, token, { where, rows });
  if (token < rows) return token;
  throw invalidValue(where, token, `a token id from 0 to ${rows - 1}`, "use an id of the tokenizer");
}

/** Tokens of a reference text that are used to calibrate interventions. */
const REFERENCE_TOKENS = 1024;
/** Characters of a reference text that are tokenized; in ordinary text they contain at least that many tokens. */
const REFERENCE_CHARACTERS = 16 * REFERENCE_TOKENS;

/** The reference text of a request, or the server's, truncated to {@link REFERENCE_TOKENS}. */
export function referenceOf(
  { model, reference }: Services,
  text: string | undefined,
): Int32Array | undefined {
  const ids = text === undefined ? reference : model.tokenize(text.slice(0, REFERENCE_CHARACTERS));
  return ids?.subarray(0, REFERENCE_TOKENS);
}

interface Changes {
  interventions?: RunOptions["interventions"];
  patch?: string | { expression: string } | GenePatch;
  reference?: string;
}

export async function changesOf(
  services: RouteServices,
  changes: Changes,
  signal: AbortSignal,
): Promise<RunOptions> {
  const { interventions, patch, reference } = changes;
  return {
    interventions,
    patch: patch === undefined ? undefined : await patchOf(services, patch, signal),
    reference: interventions && referenceOf(services, reference),
  };
}

/** @throws what {@link resolvePatch} does */
export const patchOf = async (...request: Parameters<typeof resolvePatch>): Promise<GenePatch> =>
  (await resolvePatch(...request)).patch;

/**
 * Resolves a request's patch, given by name, as statements or in full.
 *
 * @throws ApiError 404 if no patch has this name; ReflowError if the patch is invalid
 */
export async function resolvePatch(
  { model, patches, analysisQueue }: RouteServices,
  patch: NonNullable<Changes["patch"]>,
  signal: AbortSignal,
): Promise<SavedPatch> {
  const create = async (expression: string) => ({
    expression,
    patch: await analysisQueue.run(() => model.createPatch(expression), { signal }),
  });
  if (typeof patch !== "string") return "expression" in patch ? create(patch.expression) : { patch };
  // Statements contain `=`; names cannot.
  return patch.includes("=") ? create(patch) : savedPatch({ patches }, patch);
}

/** @throws ApiError 404 if no patch has this name */
export async function savedPatch(
  { patches }: Pick<RouteServices, "patches">,
  name: string,
): Promise<SavedPatch> {
  const found = await patches.get(name);
  if (found) return found;
  throw new ApiError(
    404,
    "patch_not_found",
    `there is no patch ${JSON.stringify(name.slice(0, 80))}`,
    "GET /v1/patches lists them",
    {
      param: "patch",
    },
  );
}

interface Sampling {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  repetition_penalty?: number;
  stop?: string | string[];
}

export const samplingOf = (request: Sampling): GenerateOptions => ({
  temperature: request.temperature,
  topP: request.top_p,
  topK: request.top_k,
  minP: request.min_p,
  repetitionPenalty: request.repetition_penalty,
  stop: request.stop,
});

/** The seed of a request that gives none. */
export const randomSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0];
