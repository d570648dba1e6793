/** All that a link reproduces: it lives in the address, after `#`. */
import { computed, effect, signal } from "@preact/signals";
import type { Intervention, PatchChoice } from "./engine.ts";

export const VIEWS = ["steer", "explain", "lens", "map", "patch"] as const;
export type View = (typeof VIEWS)[number];

export const OPS = ["add", "set", "scale", "ablate", "swap"] as const;
export const UNITS = ["residNorm", "raw", "sigma"] as const;
export const REPLACEMENTS = ["zero", "mean", "resample"] as const;
/** `at` some: see {@link Item.at}. */
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

/** An intervention of the rack. */
export interface Item {
  on: boolean;
  kind: (typeof TARGETS)[number];
  text: string;
  op: (typeof OPS)[number];
  /** What `swap` exchanges it with: of the same kind. */
  other: string;
  /** What `add` takes as its strength, `set` as its value, and `scale` as its factor. */
  amount: number;
  unit: (typeof UNITS)[number];
  /** What an ablated component becomes. */
  replacement: (typeof REPLACEMENTS)[number];
  hook: (typeof BLOCK_HOOKS | typeof OTHER_HOOKS)[number];
  first: number;
  last: number;
  positions: (typeof POSITIONS)[number];
  /** Positions, with commas. */
  at: string;
  /** Whether it depends on what a signal is there. */
  condition: (typeof CONDITIONS)[number];
  signal: number;
  threshold: number;
}

export interface State {
  view: View;
  prompt: string;
  rack: Item[];
  /** The token whose chances are watched; the first target's where it is empty. */
  watch: string;
  seed: number;
  temperature: number;
  length: number;
  /** What the Patch view edits, and whether it is applied everywhere. */
  patch: PatchChoice;
  patched: boolean;
  /** The token that Explain is asked about; the prompt's last where it isn't said. */
  position?: number;
  /** What the panel shows. */
  token?: number;
  signal?: number;
  /** The lens's cell whose tokens are listed; the last of both where it isn't said. */
  cell?: [layer: number, position: number];
  /** What is looked for on the map, and where it is looked at; all of it where that isn't said. */
  find: string;
  frame?: Frame;
}

/** How the plane lies on the canvas: its middle, and canvas pixels per unit. */
export interface Frame {
  x: number;
  y: number;
  scale: number;
}

export const newItem = (): Item => ({
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

const START: State = {
  view: "steer",
  prompt: "When the king came home, he was",
  rack: [newItem()],
  watch: "",
  seed: 3,
  temperature: 0.7,
  length: 32,
  patch: { expression: '"terrible" += 0.6 * ("great" - "terrible")' },
  patched: false,
  find: "",
};

/** From an address. What it doesn't say, or says wrongly, is as at the start. */
function parse(hash: string): State {
  const state: Record<string, unknown> = { ...START };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    try {
      state[key] = JSON.parse(text);
    } catch {
      // A link that was cut short.
    }
  }
  const { view, rack, position, token, signal, cell, frame } = state as unknown as State;
  if (!VIEWS.includes(view)) state.view = START.view;
  for (const key of ["prompt", "watch", "find"] as const) {
    if (typeof state[key] !== "string") state[key] = START[key];
  }
  for (const key of ["seed", "temperature", "length"] as const) {
    if (!Number.isFinite(state[key])) state[key] = START[key];
  }
  state.rack = Array.isArray(rack) ? rack.map(asItem) : START.rack;
  const { expression, name } = (state.patch ?? {}) as { expression?: unknown; name?: unknown };
  if (typeof expression !== "string" && typeof name !== "string") state.patch = START.patch;
  for (const [key, value] of Object.entries({ position, token, signal })) {
    if (!Number.isInteger(value)) delete state[key];
  }
  if (!(Array.isArray(cell) && cell.length === 2 && cell.every(Number.isInteger))) delete state.cell;
  if (![frame?.x, frame?.y, frame?.scale].every(Number.isFinite) || frame!.scale <= 0) delete state.frame;
  return state as unknown as State;
}

/** What fields of an intervention can be. */
const LISTS: Record<string, readonly string[]> = {
  kind: TARGETS,
  op: OPS,
  unit: UNITS,
  replacement: REPLACEMENTS,
  hook: [...BLOCK_HOOKS, ...OTHER_HOOKS],
  positions: POSITIONS,
  condition: CONDITIONS,
};

/** What an address says of an intervention, as far as that can be. */
function asItem(said: unknown): Item {
  const item = newItem();
  const isAlike = ([key, value]: [string, unknown]) =>
    LISTS[key]?.includes(value as string) ?? typeof value === typeof item[key as keyof Item];
  return { ...item, ...Object.fromEntries(Object.entries(said ?? {}).filter(isAlike)) };
}

function print(state: State): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const text = JSON.stringify(value);
    if (text !== JSON.stringify(START[key as keyof State])) parameters.set(key, text);
  }
  return parameters.toString();
}

export const state = signal(parse(location.hash));

/** What the address is about to say: it comes after the state. */
export const hash = (): string => `#${print(state.value)}`;

export const update = (change: Partial<State>): void => {
  state.value = { ...state.value, ...change };
};

/** Only one is shown. */
export const showToken = (token: number): void => update({ token, signal: undefined });
export const showSignal = (signal: number): void => update({ signal, token: undefined });

export const updateItem = (index: number, change: Partial<Item>): void =>
  update({ rack: state.value.rack.map((item, i) => (i === index ? { ...item, ...change } : item)) });

/** The model's, as soon as that is known. */
let layers = Infinity;

/** A link may come from a model with more layers. */
export function fitLayers(count: number): void {
  layers = count;
  const fit = (layer: number) => Math.max(0, Math.min(Math.round(layer), layers - 1));
  update({
    rack: state.value.rack.map((item) => {
      const first = fit(item.first);
      return { ...item, first, last: Math.max(first, fit(item.last)) };
    }),
  });
}

/** It is on, and says what it is about. */
export const isApplied = ({ on, kind, text, op, other }: Item): boolean => {
  // A token may be a space, or a new line.
  const says = (text: string) => (kind === "token" ? text : text.trim()) !== "";
  return on && says(text) && (op !== "swap" || says(other));
};

/** A patch without a statement. */
export const isNothing = (patch: PatchChoice): boolean =>
  "expression" in patch && patch.expression.trim() === "";

/** What is done to the model, in its terms. */
export const changes = computed(() => {
  const { rack, patch, patched } = state.value;
  return {
    interventions: rack.filter(isApplied).map(interventionOf),
    patch: patched && !isNothing(patch) ? patch : undefined,
  };
});

/** The same where nothing is generated: what is for generated tokens alone has nothing to do there. */
export const promptChanges = computed(() => ({
  ...changes.value,
  interventions: changes.value.interventions.filter(isForPrompt),
}));

export const isForPrompt = ({ positions }: { positions?: unknown }): boolean => positions !== "generated";

export function interventionOf(item: Item): Intervention {
  const { kind, text, op, other, amount, unit, replacement, hook, first, last } = item;
  const targetOf = (text: string) =>
    kind === "signal" ? { signal: Number(text) } : kind === "token" ? { token: text } : { expression: text };
  const layers = (BLOCK_HOOKS as readonly string[]).includes(hook) ? { layers: [first, last] as const } : {};
  const place = { target: targetOf(text), hook, ...layers, ...whereOf(item) };
  if (op === "add") return { op, ...place, strength: amount, unit };
  if (op === "set") return { op, ...place, value: amount };
  if (op === "scale") return { op, ...place, factor: amount };
  if (op === "swap") return { op, ...place, with: targetOf(other) };
  return { op, ...place, ablateWith: replacement };
}

/** At which positions, and on which condition. */
function whereOf({
  positions,
  at,
  condition,
  signal,
  threshold,
}: Item): Pick<Intervention, "positions" | "when"> {
  const listed = at.split(",").map((each) => Number(each.trim() || Number.NaN));
  return {
    ...(positions !== "all" && { positions: positions === "at" ? listed : positions }),
    ...(condition !== "always" && { when: { signal, [condition === "above" ? "gt" : "lt"]: threshold } }),
  };
}

/** Keeps the address and the state the same. */
export function bindAddress(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stepOf = ({ view, token, signal }: State) => JSON.stringify([view, token, signal]);
  let last = stepOf(state.value);
  effect(() => {
    const hash = print(state.value);
    const step = stepOf(state.value);
    clearTimeout(timer);
    // Browsers refuse more than a hundred changes in half a minute: a slider makes more.
    timer = setTimeout(() => {
      const address = hash ? `#${hash}` : location.pathname + location.search;
      // Back leads to the view before this one; what is typed is no step.
      if (step === last) history.replaceState(null, "", address);
      else history.pushState(null, "", address);
      last = step;
    }, 200);
  });
  addEventListener("hashchange", (event) => {
    // Not the address as it is: the timer may have changed that meanwhile.
    const next = parse(new URL((event as HashChangeEvent).newURL).hash);
    last = stepOf(next);
    state.value = next;
    fitLayers(layers);
  });
}
