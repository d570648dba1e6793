/**
 * The entry for Cloudflare Workers. `bun server/build-worker.ts` bundles it, and `wrangler.jsonc` deploys it.
 *
 * Requests are served by a durable object, one per Cloudflare location that receives requests. In a plain worker, requests can
 * neither wait for each other nor share timers, which batching needs, and each isolate would load its own model.
 */
import kernels from "../kernels-as/build/relaxed-plain.wasm";
import { ReflowError } from "../runtime/common/errors.ts";
import { HELD_OUT } from "../runtime/formats/checkpoint-tensors.ts";
import { fetchModel } from "../runtime/model/fetch.ts";
import { createApp } from "./app.ts";
import { splitList } from "./context/services.ts";
import { originsOf } from "./middleware/cors.ts";
import { logLine } from "./middleware/log.ts";
import { type KvNamespace, kvStore } from "./patches/kv.ts";
import { patchStore } from "./patches/store.ts";

/** Bindings from `wrangler.jsonc`, and secrets set with `wrangler secret put`. */
interface Env {
  /** The durable objects: {@link Server}. */
  SERVER: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
  /** The playground's files, and the model's folder as `/model/`. */
  ASSETS: { fetch(request: URL | Request): Promise<Response> };
  /** Saved gene patches. */
  PATCHES: KvNamespace;
  /** As --key, --cors and --rate of `bun run server`; lists are comma-separated. */
  REFLOW_KEYS?: string;
  REFLOW_CORS?: string;
  REFLOW_RATE?: string;
}

/** A sequence of the `nano` model takes 3 MB of KV cache, so this many fit in an isolate's 128 MB. */
const SLOTS = 4;
/** Base URL for the assets binding, which accepts any host. */
const ASSETS = "https://assets.local";

export default {
  fetch(request: Request & { cf?: { colo?: string } }, { SERVER }: Env): Promise<Response> {
    return SERVER.get(SERVER.idFromName(request.cf?.colo ?? "")).fetch(request);
  },
};

/** The app with its model, which is loaded on the first request. */
export class Server {
  #app?: ReturnType<typeof start>;

  constructor(
    _state: unknown,
    private readonly env: Env,
  ) {}

  async fetch(request: Request): Promise<Response> {
    this.#app ??= start(this.env);
    try {
      return (await this.#app).fetch(request);
    } catch (error) {
      // The next request retries.
      this.#app = undefined;
      console.error(logLine({ level: "error", error: String((error as Error).stack) }));
      return Response.json(
        { error: { message: "the server failed to start", type: "server_error" } },
        { status: 503 },
      );
    }
  }
}

/** @throws ReflowError `usage` for an invalid limit */
function rateOf({ REFLOW_RATE: text }: Env): number | undefined {
  if (!text) return undefined;
  const rate = Number(text);
  if (Number.isSafeInteger(rate) && rate >= 1) return rate;
  throw new ReflowError(
    "usage",
    `REFLOW_RATE is ${text}`,
    "use a whole number of at least 1, or leave it empty",
  );
}

/** Creates the app. The weights are streamed from the assets into WASM memory. */
async function start(env: Env) {
  const model = await fetchModel(new URL("/model/", ASSETS), {
    device: "wasm",
    module: kernels,
    fetch: (url) => env.ASSETS.fetch(url),
  });
  const heldOut = await env.ASSETS.fetch(new URL(`/model/${HELD_OUT}`, ASSETS));
  const text = heldOut.ok ? await heldOut.text() : undefined;
  return createApp({
    model,
    name: "nano",
    pool: model.pool({ slots: SLOTS, queue: 4 * SLOTS }),
    patches: patchStore(kvStore(env.PATCHES)),
    reference: text === undefined ? undefined : model.tokenizer.encode(text, { allowSpecial: true }),
    keys: splitList(env.REFLOW_KEYS),
    origins: originsOf(env.REFLOW_CORS),
    rate: rateOf(env),
    address: (c) => c.req.header("cf-connecting-ip"),
    log: (entry) => console.log(logLine(entry)),
    async assets(path) {
      const response = await env.ASSETS.fetch(new URL(ASSETS + path));
      // A copy, since the headers of a fetched response are immutable.
      return response.ok ? new Response(response.body, response) : undefined;
    },
  });
}
