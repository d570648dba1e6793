/** Requests in the runtime's terms. */
import { ReflowError } from "../../runtime/common/errors.ts";
import type { GenerateOptions } from "../../runtime/generation/generate.ts";
import type { RunOptions } from "../../runtime/interventions/prepare-run.ts";
import { invalidValue } from "../../runtime/common/validation.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { GenePatch } from "../../runtime/patches/patch.ts";
import { tokenOf } from "../../runtime/text/expression.ts";
import { Refusal } from "../middleware/errors.ts";
import type { KeptPatch } from "../patches/store.ts";
import type { Services, Tools } from "../services.ts";

/** @throws Refusal 404 for the name of a model that isn't here */
export function checkModel({ name }: Services, asked: string | undefined): void {
  if (asked === undefined || asked === name) return;
  const message = `there is no model ${JSON.stringify(asked.slice(0, 100))}`;
  throw new Refusal(404, "model_not_found", message, `this server has ${JSON.stringify(name)}`, {
    param: "model",
  });
}

/**
 * A prompt's ids; none where it is empty.
 *
 * @throws Refusal 400 `context_length_exceeded` for more tokens than the context holds: of text that can't but have as many before they are counted
 */
export function idsOf(model: Model, prompt: string | readonly number[], where = "prompt"): Int32Array {
  const { context } = model.config;
  const tooLong = (what: string) =>
    new Refusal(
      400,
      "context_length_exceeded",
      `${where} has ${what}, the context ${context} tokens`,
      "shorten it, from its beginning for example",
      { param: where },
    );
  if (typeof prompt !== "string") {
    if (prompt.length > context) throw tooLong(`${prompt.length} tokens`);
    return Int32Array.from(prompt);
  }
  // Each character is a byte at least.
  if (prompt.length > context * model.tokenizer.longest) throw tooLong(`${prompt.length} characters`);
  const ids = model.tokenize(prompt);
  if (ids.length > context) throw tooLong(`${ids.length} tokens`);
  return ids;
}

/** The same of something that is looked at, of which there must be something. */
export function someIdsOf(model: Model, input: string | readonly number[], where: string): Int32Array {
  const ids = idsOf(model, input, where);
  if (ids.length > 0) return ids;
  throw new ReflowError("data", `${where} is empty`, "give one token at least");
}

/** @throws ReflowError `usage` for what isn't a token */
export function tokenIdOf({ config, tokenizer }: Model, token: string | number, where = "target"): number {
  const rows = Math.min(tokenizer.vocabSize, config.vocab_size);
  if (typeof token === "string") return tokenOf(tokenizer, token, { where, rows });
  if (token < rows) return token;
  throw invalidValue(where, token, `one of ${rows} tokens`, `they are 0 to ${rows - 1}`);
}

/** Tokens of a reference text that interventions are measured on. */
const REFERENCE_TOKENS = 1024;
/** Its characters: what comes after them is beyond these tokens in any text that is one. */
const REFERENCE_CHARACTERS = 16 * REFERENCE_TOKENS;

/** A request's own text, or the server's, as far as it is measured on. */
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

export async function changesOf(tools: Tools, changes: Changes, signal: AbortSignal): Promise<RunOptions> {
  const { interventions, patch, reference } = changes;
  return {
    interventions,
    patch: patch === undefined ? undefined : await patchOf(tools, patch, signal),
    reference: interventions && referenceOf(tools, reference),
  };
}

/** @throws what {@link withExpression} does */
export const patchOf = async (...request: Parameters<typeof withExpression>): Promise<GenePatch> =>
  (await withExpression(...request)).patch;

/**
 * A request's patch, with its statements where it has them.
 *
 * @throws Refusal 404 for the name of a patch that isn't here; ReflowError for one that can't be read
 */
export async function withExpression(
  { model, patches, gate }: Tools,
  patch: NonNullable<Changes["patch"]>,
  signal: AbortSignal,
): Promise<KeptPatch> {
  const create = async (expression: string) => ({
    expression,
    patch: await gate.run(() => model.createPatch(expression), signal),
  });
  if (typeof patch !== "string") return "expression" in patch ? create(patch.expression) : { patch };
  // Names have no `=`, and statements have one.
  return patch.includes("=") ? create(patch) : keptPatch({ patches }, patch);
}

/** @throws Refusal 404 for the name of a patch that isn't here */
export async function keptPatch({ patches }: Pick<Tools, "patches">, name: string): Promise<KeptPatch> {
  const found = await patches.get(name);
  if (found) return found;
  throw new Refusal(
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

/** Where a request doesn't say. */
export const someSeed = (): number => crypto.getRandomValues(new Uint32Array(1))[0];
