/** What is counted of a request while it is served, for its line in the log and for the metrics. */
export interface Account {
  /** Of the prompt and generated, together. */
  tokens: number;
  /** The first digits of the key's SHA-256, where there was a key. */
  key?: string;
  /** What went wrong in the server, with its stack. */
  error?: string;
  /** Set by handlers that stream: settles when the last byte is out, or the client gone. */
  ended?: Promise<unknown>;
}
