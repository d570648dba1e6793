/**
 * The entry for Cloudflare's Workers: `bun server/build-worker.ts` bundles it, `wrangler.jsonc` deploys it.
 *
 * What serves is a durable object, one in each of Cloudflare's locations that is asked: requests to a plain worker may neither wait
 * for each other nor share timers, which batching needs, and each isolate would load a model of its own.
 */
import kernels from "../kernels-as/build/relaxed-plain.wasm";
import { ReflowError } from "../runtime/common/errors.ts";
import { HELD_OUT } from "../runtime/formats/checkpoint-tensors.ts";
import { fetchModel } from "../runtime/model/fetch.ts";
import { createApp } from "./app.ts";
import { originsOf } from "./middleware/cors.ts";
import { logLine } from "./middleware/log.ts";
import { type KvNamespace, kvTexts } from "./patches/kv.ts";
import { patchStore } from "./patches/store.ts";
import { listOf } from "./services.ts";

/** What `wrangler.jsonc` binds, and `wrangler secret put` sets. */
interface Env {
  /** {@link Server}s. */
  SERVER: {
    idFromName(name: string): unknown;
    get(id: unknown): { fetch(request: Request): Promise<Response> };
  };
  /** The playground, and the model's folder as `/model/`. */
  ASSETS: { fetch(request: URL | Request): Promise<Response> };
  /** Named gene patches. */
  PATCHES: KvNamespace;
  /** As --key, --cors and --rate of `bun run server`; lists have commas. */
  REFLOW_KEYS?: string;
  REFLOW_CORS?: string;
  REFLOW_RATE?: string;
}

/** A nano's sequence takes 3 MB of KV cache: there is room for these in an isolate's 128 MB. */
const SLOTS = 4;
/** The binding answers for any host. */
const ASSETS = "https://assets.local";

export default {
  fetch(request: Request & { cf?: { colo?: string } }, { SERVER }: Env): Promise<Response> {
    return SERVER.get(SERVER.idFromName(request.cf?.colo ?? "")).fetch(request);
  },
};

/** The app with its model, which is loaded when the first request comes. */
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
      // The next request tries again.
      this.#app = undefined;
      console.error(logLine({ level: "error", error: String((error as Error).stack) }));
      return Response.json(
        { error: { message: "the server can't start", type: "server_error" } },
        { status: 503 },
      );
    }
  }
}

/** @throws ReflowError `usage` for what is no limit */
function rateOf({ REFLOW_RATE: text }: Env): number | undefined {
  if (!text) return undefined;
  const rate = Number(text);
  if (Number.isSafeInteger(rate) && rate >= 1) return rate;
  throw new ReflowError("usage", `REFLOW_RATE is ${text}`, "give a whole number from 1 on, or nothing");
}

/** Streams the weights from the assets straight into WASM memory. */
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
    patches: patchStore(kvTexts(env.PATCHES)),
    reference: text === undefined ? undefined : model.tokenizer.encode(text, { allowSpecial: true }),
    keys: listOf(env.REFLOW_KEYS),
    origins: originsOf(env.REFLOW_CORS),
    rate: rateOf(env),
    address: (c) => c.req.header("cf-connecting-ip"),
    log: (entry) => console.log(logLine(entry)),
    async assets(path) {
      const response = await env.ASSETS.fetch(new URL(ASSETS + path));
      // One whose headers can be added to.
      return response.ok ? new Response(response.body, response) : undefined;
    },
  });
}
