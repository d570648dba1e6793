/** The page's state, kept in step with its address. */
import { computed, effect, signal } from "@preact/signals";
import type { PatchChoice } from "../engine/engine.ts";
import { parse, print, type State } from "./address.ts";
import { interventionOf, isApplied, isForPrompt, type RackItem } from "./rack.ts";

export const state = signal(parse(location.hash));

/** The fragment for the current state. The address itself follows with a delay. */
export const hash = (): string => `#${print(state.value)}`;

export const update = (change: Partial<State>): void => {
  state.value = { ...state.value, ...change };
};

/** Opens the panel for a token, or for a signal: it shows one of them at a time. */
export const showToken = (token: number): void => update({ token, signal: undefined });
export const showSignal = (signal: number): void => update({ signal, token: undefined });

export const updateRackItem = (index: number, change: Partial<RackItem>): void =>
  update({ rack: state.value.rack.map((item, i) => (i === index ? { ...item, ...change } : item)) });

/** Number of the model's layers, as soon as it is known. */
let layers = Infinity;

/** Clamps the layers of all interventions to the model: a link may have been made with a deeper one. */
export function clampLayers(count: number): void {
  layers = count;
  const clamp = (layer: number) => Math.max(0, Math.min(Math.round(layer), layers - 1));
  update({
    rack: state.value.rack.map((item) => {
      const first = clamp(item.first);
      return { ...item, first, last: Math.max(first, clamp(item.last)) };
    }),
  });
}

/** Whether a patch has no statements. */
export const isEmptyPatch = (patch: PatchChoice): boolean =>
  "expression" in patch && patch.expression.trim() === "";

/** The interventions and the patch to apply, in the engine's form. */
export const changes = computed(() => {
  const { rack, patch, patched } = state.value;
  return {
    interventions: rack.filter(isApplied).map(interventionOf),
    patch: patched && !isEmptyPatch(patch) ? patch : undefined,
  };
});

/** The changes for requests that generate nothing, without interventions on generated tokens only. */
export const promptChanges = computed(() => ({
  ...changes.value,
  interventions: changes.value.interventions.filter(isForPrompt),
}));

/** Updates the address when the state changes, and the state when the address does. */
export function bindAddress(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stepOf = ({ view, token, signal }: State) => JSON.stringify([view, token, signal]);
  let last = stepOf(state.value);
  effect(() => {
    const hash = print(state.value);
    const step = stepOf(state.value);
    clearTimeout(timer);
    // Browsers allow about a hundred address changes in half a minute, and a slider makes more.
    timer = setTimeout(() => {
      const address = hash ? `#${hash}` : location.pathname + location.search;
      // A change of the view or the panel is a step of the history; typing is not.
      if (step === last) history.replaceState(null, "", address);
      else history.pushState(null, "", address);
      last = step;
    }, 200);
  });
  addEventListener("hashchange", (event) => {
    // Reads the event's URL, because the timer may have changed the current address since.
    const next = parse(new URL((event as HashChangeEvent).newURL).hash);
    last = stepOf(next);
    state.value = next;
    clampLayers(layers);
  });
}
