/**
 * Communication between the ranks of a job. Each rank is a process with its own copy of the model. After the micro-batches
 * of a step an all-reduce gives every rank the sum of all ranks' gradients, so that all make the same update.
 */
export interface Collective {
  /** This process's number, from 0. Rank 0 writes files and shows progress. */
  readonly rank: number;
  /** Number of ranks. */
  readonly world: number;
  /** A description for the user: "4 ranks over shared memory". */
  readonly description: string;
  /**
   * Replaces the values by their sums over the ranks, added in rank order in f32: the result is the same on every rank, and
   * reproducible bit for bit. All ranks must pass the same number of values. A bf16 wire keeps 8 significant bits of the
   * values and of the sums.
   *
   * @throws ReflowError `job` naming the rank and the reason if a rank died, exceeded the deadline or aborted the job
   */
  allReduce(values: Float32Array): Promise<void>;
  /**
   * Ends the job: the current or next {@link allReduce} of the other ranks throws.
   *
   * @param reason the error; an optional second line says what to do
   */
  abort(reason: string): void;
  dispose(): void;
}

/** The collective of a job with a single process. */
export const SINGLE_PROCESS: Collective = {
  rank: 0,
  world: 1,
  description: "1 process",
  allReduce: async () => {},
  abort: () => {},
  dispose: () => {},
};
