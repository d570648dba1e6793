import type { Signal } from "../../runtime/host/signals.ts";

/** Why a run ends before its last step. */
export type Stop = Signal | "minutes";

/** A signal leaves the step that is under way undone; the time ends the run after it. */
export const isSignal = (reason: string | undefined): reason is Signal =>
  reason === "SIGINT" || reason === "SIGTERM";

/** Thrown where a signal cut a step or an evaluation short: weights, optimizer and position are those before it. */
export class Interrupted extends Error {
  constructor(readonly stop: Signal) {
    super(stop);
  }
}

/** Whether and why this process wants to stop, after a turn of the event loop. */
export type Pause = () => Promise<Stop | undefined>;
