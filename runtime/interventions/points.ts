/** Resolves an intervention's `hook` and `layers` to hook points. */
import { closest } from "fastest-levenshtein";
import { ReflowError } from "../common/errors.ts";
import { displayValue, invalidValue } from "../common/validation.ts";
import type { ModelConfig } from "../config/config.ts";
import { isFactored } from "../config/config.ts";
import { hookNames, READOUT_HOOKS } from "../transformer/hooks.ts";
import type { Place } from "./spec.ts";

/**
 * The kind of row at a hook point: recipes (S); signals read from the residual stream (S); the residual stream or the
 * output of a branch (d); the residual stream after the final norm (d); logits (V).
 */
export type Space = "recipe" | "signals" | "residual" | "normalized" | "logits";

const SPACES: Record<string, Space> = {
  hook_recipe: "recipe",
  hook_embed: "residual",
  hook_resid_pre: "residual",
  hook_attn_out: "residual",
  hook_resid_mid: "residual",
  hook_mlp_out: "residual",
  hook_resid_post: "residual",
  "ln_final.hook_normalized": "normalized",
  hook_signals: "signals",
  hook_logits: "logits",
};

export interface Points {
  /** Full names, one per block. */
  names: string[];
  space: Space;
  /** Whether the point is in the readout, which only the rows that are sampled from reach. */
  readout: boolean;
}

/** @throws ReflowError `usage` for an unknown hook point or block, and for a hook point at which no direction is defined */
export function pointsOf(
  config: ModelConfig,
  { hook, layers }: Pick<Place, "hook" | "layers">,
  where: string,
): Points {
  const match = /^blocks\.(?<block>0|[1-9]\d*)\.(?<name>.+)$/.exec(hook);
  const { block, name = hook } = match?.groups ?? {};
  const all = hookNames(config);
  const inBlocks = all.includes(`blocks.0.${name}`);
  const space = SPACES[name];
  if ((!inBlocks && (block !== undefined || !all.includes(name))) || space === undefined) {
    throw unknownHook(config, hook, name, where);
  }
  const last = config.n_layers - 1;
  const blocks = `the blocks are 0 to ${last}`;
  const points = (names: string[]) => ({ names, space, readout: READOUT_HOOKS.includes(name) });
  if (!inBlocks) {
    if (!layers) return points([name]);
    throw new ReflowError("usage", `${where}.layers is given, but ${name} is not in a block`, "omit layers");
  }
  if (block !== undefined) {
    if (layers) {
      const help = `omit layers, or set hook to ${displayValue(name)}`;
      throw new ReflowError(
        "usage",
        `${where}.layers is given, but ${where}.hook already names block ${block}`,
        help,
      );
    }
    if (Number(block) > last) throw invalidValue(`${where}.hook`, hook, "a block of the model", blocks);
    return points([`blocks.${Number(block)}.${name}`]);
  }
  if (!layers) {
    const help = `${name} exists in every block: use "layers":[0,${last}] for all blocks, or name one, as in "blocks.0.${name}"`;
    throw new ReflowError("usage", `${where}.layers is missing`, help);
  }
  const [from, to] = layers;
  if (to > last) throw invalidValue(`${where}.layers`, layers, `[first, last] from 0 to ${last}`, blocks);
  return points(Array.from({ length: to - from + 1 }, (_, i) => `blocks.${from + i}.${name}`));
}

function unknownHook(config: ModelConfig, hook: string, name: string, where: string): ReflowError {
  const field = `${where}.hook`;
  const all = hookNames(config);
  const known = Object.keys(SPACES).filter((each) => all.includes(each) || all.includes(`blocks.0.${each}`));
  if (!SPACES[name] && (all.includes(name) || all.includes(`blocks.0.${name}`))) {
    return invalidValue(
      field,
      hook,
      "a point of the residual stream, the signals or the logits",
      known.join(", "),
    );
  }
  if ((name === "hook_recipe" || name === "hook_signals") && !isFactored(config)) {
    const message = `${field} is ${displayValue(hook)}: a ${config.variant} has no recipes and no signals`;
    return new ReflowError("usage", message, known.join(", "));
  }
  return invalidValue(
    field,
    hook,
    "the name of a hook point",
    `did you mean ${displayValue(closest(name, known))}?`,
  );
}
