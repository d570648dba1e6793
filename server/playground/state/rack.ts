/** An intervention as the page edits it, and its conversion to the engine's form. The state calls their list the rack. */
import type { Intervention } from "../engine/engine.ts";

export const OPS = ["add", "set", "scale", "ablate", "swap"] as const;
export const UNITS = ["residNorm", "raw", "sigma"] as const;
export const REPLACEMENTS = ["zero", "mean", "resample"] as const;
/** `at` selects the positions listed in {@link RackItem.at}. */
export const POSITIONS = ["all", "prompt", "generated", "at"] as const;
export const CONDITIONS = ["always", "above", "below"] as const;
export const TARGETS = ["expression", "token", "signal"] as const;
export const BLOCK_HOOKS = [
  "hook_resid_pre",
  "hook_resid_mid",
  "hook_resid_post",
  "hook_attn_out",
  "hook_mlp_out",
] as const;
export const OTHER_HOOKS = ["hook_embed", "hook_recipe", "hook_signals"] as const;

/** One intervention of the page. Fields that its operation does not use keep their values. */
export interface RackItem {
  on: boolean;
  kind: (typeof TARGETS)[number];
  text: string;
  op: (typeof OPS)[number];
  /** Second target of `swap`, of the same kind as the first. */
  other: string;
  /** Strength of `add`, value of `set` or factor of `scale`. */
  amount: number;
  unit: (typeof UNITS)[number];
  /** Replacement for a component removed by `ablate`. */
  replacement: (typeof REPLACEMENTS)[number];
  hook: (typeof BLOCK_HOOKS | typeof OTHER_HOOKS)[number];
  first: number;
  last: number;
  positions: (typeof POSITIONS)[number];
  /** Comma-separated positions. */
  at: string;
  /** Whether the intervention applies always, or only where `signal` is above or below `threshold`. */
  condition: (typeof CONDITIONS)[number];
  signal: number;
  threshold: number;
}

export const newRackItem = (): RackItem => ({
  on: true,
  kind: "expression",
  text: "happy - sad",
  op: "add",
  other: "sad",
  amount: 0.1,
  unit: "residNorm",
  replacement: "zero",
  hook: "hook_resid_post",
  first: 0,
  last: 3,
  positions: "all",
  at: "0",
  condition: "always",
  signal: 9,
  threshold: 0,
});

/** Valid values of the fields that are chosen from a list. */
const CHOICES: Record<string, readonly string[]> = {
  kind: TARGETS,
  op: OPS,
  unit: UNITS,
  replacement: REPLACEMENTS,
  hook: [...BLOCK_HOOKS, ...OTHER_HOOKS],
  positions: POSITIONS,
  condition: CONDITIONS,
};

/** Reads an item from untrusted JSON. Missing and invalid fields get their defaults. */
export function parseRackItem(json: unknown): RackItem {
  const item = newRackItem();
  const isValid = ([key, value]: [string, unknown]) =>
    CHOICES[key]?.includes(value as string) ?? typeof value === typeof item[key as keyof RackItem];
  return { ...item, ...Object.fromEntries(Object.entries(json ?? {}).filter(isValid)) };
}

/** Whether the intervention is enabled and its targets are filled in. */
export const isApplied = ({ on, kind, text, op, other }: RackItem): boolean => {
  // Whitespace can be a token.
  const isFilled = (text: string) => (kind === "token" ? text : text.trim()) !== "";
  return on && isFilled(text) && (op !== "swap" || isFilled(other));
};

export const isForPrompt = ({ positions }: { positions?: unknown }): boolean => positions !== "generated";

export function interventionOf(item: RackItem): Intervention {
  const { kind, text, op, other, amount, unit, replacement, hook, first, last } = item;
  const targetOf = (text: string) =>
    kind === "signal" ? { signal: Number(text) } : kind === "token" ? { token: text } : { expression: text };
  const layers = (BLOCK_HOOKS as readonly string[]).includes(hook) ? { layers: [first, last] as const } : {};
  const common = { target: targetOf(text), hook, ...layers, ...scopeOf(item) };
  if (op === "add") return { op, ...common, strength: amount, unit };
  if (op === "set") return { op, ...common, value: amount };
  if (op === "scale") return { op, ...common, factor: amount };
  if (op === "swap") return { op, ...common, with: targetOf(other) };
  return { op, ...common, ablateWith: replacement };
}

/** The positions and the condition of an intervention. */
function scopeOf({
  positions,
  at,
  condition,
  signal,
  threshold,
}: RackItem): Pick<Intervention, "positions" | "when"> {
  const listed = at.split(",").map((each) => Number(each.trim() || Number.NaN));
  return {
    ...(positions !== "all" && { positions: positions === "at" ? listed : positions }),
    ...(condition !== "always" && { when: { signal, [condition === "above" ? "gt" : "lt"]: threshold } }),
  };
}
