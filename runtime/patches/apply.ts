/** Applies gene patches to a model without changing its weights. */
import { groupBy } from "../common/compatibility.ts";
import { ReflowError } from "../common/errors.ts";
import { invalidValue } from "../common/validation.ts";
import { isFactored } from "../config/config.ts";
import { gatherRows } from "../transformer/embedding-tables.ts";
import { type InferenceModel, tokenCount } from "../transformer/inference.ts";
import type { Overlay } from "../transformer/recipe-overlay.ts";
import { type Edit, type GenePatch, netEdits, parsePatch } from "./patch.ts";

export interface PatchOptions {
  /** Runs with an edited R, during this call only. See {@link GenePatch}. */
  patch?: GenePatch;
}

/**
 * A model with a patch applied: it shares the original's weights, which are never written, and overlays edited rows.
 *
 * @throws ReflowError `usage` for an invalid patch, or one for another model, naming the field
 */
export async function applyPatch(
  model: InferenceModel,
  patch: GenePatch | undefined,
): Promise<InferenceModel> {
  if (patch === undefined) return model;
  const { model: made, edits } = parsePatch(patch);
  const checkpoint = patchable(model);
  if (made !== checkpoint) {
    const help = "create the patch again for this model, for example from its expression";
    throw new ReflowError("usage", `patch.model is ${made}: the model is ${checkpoint}`, help);
  }
  const signals = model.config.n_signals!;
  const tokens = tokenCount(model);
  for (const [i, { token, signal }] of edits.entries()) {
    const field = `patch.edits[${i}]`;
    const among = (what: string, n: number) => [`one of ${n} ${what}`, `they are 0 to ${n - 1}`] as const;
    if (token >= tokens) throw invalidValue(`${field}.token`, token, ...among("tokens", tokens));
    if (signal >= signals) throw invalidValue(`${field}.signal`, signal, ...among("signals", signals));
  }
  return { ...model, overlay: await overlayOf(model, edits) };
}

/**
 * The model identity that patches of this model name.
 *
 * @throws ReflowError `usage` for a model whose R cannot be edited, and one without an identity
 */
export function patchable({ config, checkpoint }: InferenceModel): string {
  const fail = (message: string, help: string) => new ReflowError("usage", message, help);
  if (!isFactored(config)) {
    throw fail(`a ${config.variant} has no recipes to edit`, "patch a reflow or a reflow-lite");
  }
  if (config.variant === "reflow-topk") {
    throw fail(
      "the recipes of a reflow-topk cannot be edited: the result of top-k would depend on values that were discarded",
      "patch a reflow or a reflow-lite",
    );
  }
  if (checkpoint !== undefined) return checkpoint;
  throw fail(
    "the model has no known identity (the SHA-256 of its model.safetensors)",
    "load it from a checkpoint folder; over HTTP, from one with manifest.json",
  );
}

/** The edited rows, without those that rounding to f32 leaves unchanged. */
async function overlayOf(model: InferenceModel, edits: readonly Edit[]): Promise<Overlay | undefined> {
  const byToken = groupBy(netEdits(edits), ({ token }) => token);
  const ids = [...byToken.keys()];
  if (ids.length === 0) return undefined;
  const overlay = new Map<number, Float32Array>();
  for (const [i, row] of (await gatherRows(model, ids)).entries()) {
    const edited = Float64Array.from(row);
    for (const { signal, delta } of byToken.get(ids[i])!) edited[signal] += delta;
    const rounded = Float32Array.from(edited);
    if (rounded.some((x, s) => x !== row[s])) overlay.set(ids[i], rounded);
  }
  return overlay;
}
