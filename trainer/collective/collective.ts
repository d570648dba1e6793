/**
 * How the ranks of a job agree. Each rank is a process with a model of its own; after a step's micro-batches every rank
 * holds the sum of all ranks' gradients, so that all make the same update.
 */
export interface Collective {
  /** This process's number, from 0; rank 0 saves, evaluates and shows progress. */
  readonly rank: number;
  /** How many ranks there are. */
  readonly world: number;
  /** One line for people: "4 ranks over shared memory". */
  readonly description: string;
  /**
   * values = Σ values over the ranks, added in the order of ranks in f32: the same bits on every rank, every time.
   * Every rank calls it with as many values. A wire of bf16 keeps 8 significant bits of them, and of the sums.
   *
   * @throws ReflowError `job` where a rank died, stalled past the deadline or ended the job, with its number and reason
   */
  allReduce(values: Float32Array): Promise<void>;
  /**
   * Tells the other ranks that the job ends: their next or current {@link allReduce} throws.
   *
   * @param reason what happened; on a second line, what to do about it
   */
  abort(reason: string): void;
  dispose(): void;
}

/** A job of one process. */
export const ALONE: Collective = {
  rank: 0,
  world: 1,
  description: "1 process",
  allReduce: async () => {},
  abort: () => {},
  dispose: () => {},
};
