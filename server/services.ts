/** What an entry gives the app: everything that differs between Bun, Deno and Workers. */
import type { Context } from "hono";
import type { GenerationPool } from "../runtime/generation/pool.ts";
import type { Model } from "../runtime/model/model.ts";
import type { GenePatch } from "../runtime/patches/patch.ts";
import type { Lexicon } from "../runtime/signals/lexicon.ts";
import type { Gate } from "./gate.ts";
import type { Account } from "./middleware/account.ts";
import type { Metrics } from "./middleware/metrics.ts";
import type { PatchStore } from "./patches/store.ts";

export interface Services {
  model: Model;
  /** What clients call the model. */
  name: string;
  pool: GenerationPool;
  /** Named gene patches. */
  patches: PatchStore;
  /**
   * Ids of a held-out text, documents each after `<|endoftext|>`: what standard deviations, means and samples of interventions are
   * taken from, and what probes read. Requests can bring their own.
   */
  reference?: Int32Array;
  /** Who may ask; anyone where there are none. */
  keys: readonly string[];
  /** Origins whose pages may ask, or `*`. */
  origins: readonly string[];
  /** Requests a minute for each key, or address where there are no keys; unlimited where it isn't said. */
  rate?: number;
  /** The client's address, as the entry knows it: what {@link rate} goes by where there are no keys. */
  address?(c: Context): string | undefined;
  /** Of a request's body, in bytes. Default 1 MiB. */
  bodyLimit?: number;
  /** In which it must be there, in ms. Default 15 s. */
  bodyMs?: number;
  /** How long a stream's event may wait to be read, in ms. Default a minute. */
  stallMs?: number;
  /** Counts requests; the app has its own where nobody else counts. */
  counted?: Metrics;
  /** Takes a line of the log: plain JSON. */
  log(entry: Readonly<Record<string, unknown>>): void;
  /** Whether it takes requests; until it is told to end, where it isn't said. */
  ready?(): boolean;
  /** A file of the playground, by its path from `/` on. */
  assets?(path: string): Promise<Response | undefined> | Response | undefined;
}

/** What handlers work with. */
export interface Tools extends Services {
  /** Where computations that aren't generation wait for their turn. */
  gate: Gate;
  /** The model's tokens and signals, read when they are first asked for; or what a patch makes of them. */
  lexicon(patched?: { patch: GenePatch; signal: AbortSignal }): Promise<Lexicon>;
}

/** What middleware leaves for handlers. */
export interface AppEnv {
  Variables: {
    /** Of this request: in the log, in errors, and in `x-request-id`. */
    requestId: string;
    /** The decoded body, JSON or MessagePack. */
    body: unknown;
    account: Account;
  };
}

/** What a variable of the environment lists, with commas between. */
export const listOf = (text = ""): string[] =>
  text
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
