/** The page's state as the fragment of its address, so that a link reproduces it. */
import type { PatchChoice } from "../engine/engine.ts";
import { newRackItem, parseRackItem, type RackItem } from "./rack.ts";

export const VIEWS = ["steer", "explain", "lens", "map", "patch"] as const;
export type View = (typeof VIEWS)[number];

export interface State {
  view: View;
  prompt: string;
  /** Interventions, in the order in which they are applied. */
  rack: RackItem[];
  /** The token whose probability is tracked. Default: taken from the target of the intervention. */
  watch: string;
  seed: number;
  temperature: number;
  length: number;
  /** The patch that the Patch view edits, and whether the other views apply it. */
  patch: PatchChoice;
  patched: boolean;
  /** Position of the prompt that the Explain view explains. Default: the last. */
  position?: number;
  /** The token or the signal that the panel shows. */
  token?: number;
  signal?: number;
  /** The selected cell of the logit lens. Default: the last layer at the last position. */
  cell?: [layer: number, position: number];
  /** Search text on the map, and the visible part of the map. Default: all of it. */
  find: string;
  frame?: Frame;
}

/** The visible part of the map: its centre in map units, and the scale in pixels per unit. */
export interface Frame {
  x: number;
  y: number;
  scale: number;
}

const START: State = {
  view: "steer",
  prompt: "When the king came home, he was",
  rack: [newRackItem()],
  watch: "",
  seed: 3,
  temperature: 0.7,
  length: 32,
  patch: { expression: '"terrible" += 0.6 * ("great" - "terrible")' },
  patched: false,
  find: "",
};

/** Reads the state from an address's fragment. Missing and invalid fields get their defaults. */
export function parse(hash: string): State {
  const state: Record<string, unknown> = { ...START };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    try {
      state[key] = JSON.parse(text);
    } catch {
      // The link was truncated: keep the default.
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
  state.rack = Array.isArray(rack) ? rack.map(parseRackItem) : START.rack;
  const { expression, name } = (state.patch ?? {}) as { expression?: unknown; name?: unknown };
  if (typeof expression !== "string" && typeof name !== "string") state.patch = START.patch;
  for (const [key, value] of Object.entries({ position, token, signal })) {
    if (!Number.isInteger(value)) delete state[key];
  }
  if (!(Array.isArray(cell) && cell.length === 2 && cell.every(Number.isInteger))) delete state.cell;
  if (![frame?.x, frame?.y, frame?.scale].every(Number.isFinite) || frame!.scale <= 0) delete state.frame;
  return state as unknown as State;
}

/** Writes the state as an address's fragment, without the `#`. Fields at their defaults are omitted. */
export function print(state: State): string {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const text = JSON.stringify(value);
    if (text !== JSON.stringify(START[key as keyof State])) parameters.set(key, text);
  }
  return parameters.toString();
}
