/**
 * Every error a user can cause or mend. The message says what went wrong and where, `help` says what was
 * expected and what to do. Commands print both and exit with status 2, without a stack trace.
 *
 * @example
 * throw new ReflowError("config", "d_model is 30, which 4 heads don't divide", "use a multiple of n_heads");
 */
export class ReflowError extends Error {
  override readonly name = "ReflowError";

  constructor(
    /** What part of the input is at fault; callers may switch on it. */
    readonly code: ErrorCode,
    message: string,
    /** What to do about it, as a sentence without a capital or a full stop. */
    readonly help?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type ErrorCode =
  | "usage" // a flag, a name or a combination of them
  | "config" // impossible dimensions, unknown keys
  | "format" // a file that is not what it says it is
  | "checkpoint" // a folder that can't be loaded, resumed or written
  | "data" // text, shards, token ids
  | "network" // a download
  | "memory" // it would not fit
  | "device" // no such backend, or it can't do what was asked
  | "lost" // a device that went away in the middle
  | "job" // another process of a job failed
  | "numerics" // a loss or a gradient that is not finite
  | "busy"; // somebody else holds the folder, or too many wait already
