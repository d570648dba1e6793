import type { Signal } from "../../runtime/host/signals.ts";

/** The reason why a run ends before its last step: a signal, or the limit of `--minutes`. */
export type StopReason = Signal | "minutes";

/** A signal abandons the step under way; the time limit ends the run after the step. */
export const isSignal = (reason: string | undefined): reason is Signal =>
  reason === "SIGINT" || reason === "SIGTERM";

/** Thrown when a signal cut a step or an evaluation short. Weights, optimizer and position are those before it. */
export class Interrupted extends Error {
  constructor(readonly signal: Signal) {
    super(signal);
  }
}

/** Yields to the event loop, then resolves to the reason why this process has to stop, if there is one. */
export type PollStop = () => Promise<StopReason | undefined>;

const STOP_REASONS = ["SIGINT", "SIGTERM", "minutes"] as const;

/** Encodes a stop reason as a number, which ranks exchange; {@link agreedStopReason} decodes it. */
export const encodeStopReason = (reason: StopReason | undefined): number =>
  reason === undefined ? STOP_REASONS.length : STOP_REASONS.indexOf(reason);

/** The job's stop reason, given every rank's: one rank that stops ends the job, and signals take precedence. */
export const agreedStopReason = (encoded: number[]): StopReason | undefined =>
  STOP_REASONS[Math.min(...encoded)];
