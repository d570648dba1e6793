/** The services that an entry passes to the app: everything that differs between Bun, Deno and Workers. */
import type { Context } from "hono";
import type { AdmissionQueue } from "../../runtime/generation/admission-queue.ts";
import type { GenerationPool } from "../../runtime/generation/pool.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { GenePatch } from "../../runtime/patches/patch.ts";
import type { Lexicon } from "../../runtime/signals/lexicon.ts";
import type { PatchStore } from "../patches/store.ts";
import type { Metrics } from "./metrics.ts";
import type { RequestRecord } from "./request-record.ts";

export interface Services {
  model: Model;
  /** The model's name, as clients give it in `model`. */
  name: string;
  pool: GenerationPool;
  /** Named gene patches. */
  patches: PatchStore;
  /**
   * Ids of a held-out text, each document preceded by `<|endoftext|>`. Interventions take standard deviations, means and samples
   * from it, and probes run on it. A request can supply its own text instead.
   */
  reference?: Int32Array;
  /** Accepted API keys. An empty list disables authentication. */
  keys: readonly string[];
  /** Origins allowed by CORS, or `*` for any. */
  origins: readonly string[];
  /** Requests per minute for each key, or for each address if there are no keys. Default: unlimited. */
  rate?: number;
  /** The client's address. {@link rate} is applied to it if there are no keys. */
  address?(c: Context): string | undefined;
  /** Maximum size of a request body, in bytes. Default: 1 MiB. */
  bodyLimit?: number;
  /** Time within which a request body must arrive, in ms. Default: 15 s. */
  bodyTimeoutMs?: number;
  /** Time after which a stream is closed if the client reads no event, in ms. Default: one minute. */
  stallTimeoutMs?: number;
  /** Counts requests. Default: an instance of the app's own. */
  metrics?: Metrics;
  /** Writes a log entry, a plain JSON object. */
  log(entry: Readonly<Record<string, unknown>>): void;
  /** Whether the server accepts requests. Default: always. */
  ready?(): boolean;
  /** Returns a file of the playground by its absolute URL path. */
  assets?(path: string): Promise<Response | undefined> | Response | undefined;
}

/** The services available to route handlers. */
export interface RouteServices extends Services {
  /** Admits the computations other than generation. */
  analysisQueue: AdmissionQueue;
  /** Tokens and signals of the model, computed on first use; or those of the patched model. */
  lexicon(patched?: { patch: GenePatch; signal: AbortSignal }): Promise<Lexicon>;
}

/** Variables that the middleware sets for handlers. */
export interface AppEnv {
  Variables: {
    /** The request's id, which appears in the log, in errors, and in `x-request-id`. */
    requestId: string;
    /** The decoded body, from JSON or MessagePack. */
    body: unknown;
    record: RequestRecord;
  };
}

/** The entries of a comma-separated list. */
export const splitList = (text = ""): string[] =>
  text
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
