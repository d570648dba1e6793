/** Data that the log and the metrics record about a request while it is served. */
export interface RequestRecord {
  /** Tokens of the prompt and of the completion, together. */
  tokens: number;
  /** The first 8 hexadecimal digits of the API key's SHA-256, if the request had a valid key. */
  key?: string;
  /** An internal error, with its stack. */
  error?: string;
  /** Set by handlers that stream: settles after the last byte, or when the client disconnects. */
  ended?: Promise<unknown>;
}
