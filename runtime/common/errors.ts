/**
 * An error that a user can cause or fix. The message says what failed and where, `help` what was expected and what to
 * do. Commands print both and exit with status 2, without a stack trace.
 *
 * @example
 * throw new ReflowError("config", "d_model is 30: expected a multiple of n_heads (4)", "use 28 or 32");
 */
export class ReflowError extends Error {
  override readonly name = "ReflowError";

  constructor(
    /** The kind of input that is at fault; callers may switch on it. */
    readonly code: ErrorCode,
    message: string,
    /** Advice on how to fix it: a sentence without an initial capital or a full stop. */
    readonly help?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type ErrorCode =
  | "usage" // a flag, a name or a combination of them
  | "config" // impossible dimensions, unknown keys
  | "format" // a file whose content is not of its format
  | "checkpoint" // a folder that cannot be loaded, resumed or written
  | "data" // text, shards, token ids
  | "network" // a download
  | "memory" // not enough memory
  | "device" // no such backend, or one that does not support the request
  | "lost" // a device that was lost during use
  | "job" // another process of a job failed
  | "numerics" // a loss or a gradient that is not finite
  | "busy"; // another process holds the folder, or the queue is full
