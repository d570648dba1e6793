/** `bun run server` and `deno task server`: one entry, since only how they listen differs. */
import { CommanderError } from "commander";
import { ReflowError } from "../runtime/common/errors.ts";
import { resolveCheckpoint } from "../runtime/formats/checkpoint.ts";
import { watchSignals } from "../runtime/host/signals.ts";
import { loadModel } from "../runtime/mod.ts";
import { createApp } from "./app.ts";
import { assets } from "./assets.ts";
import { refuseCrowds } from "./crowd.ts";
import { logLine } from "./middleware/log.ts";
import { Metrics } from "./middleware/metrics.ts";
import { command, keptIn, keysOf, nameOf, type Options, SHIPPED, textOf } from "./options.ts";
import { patchStore } from "./patches/store.ts";

/** What ends in a while has so long to do it; slow readers are cut off then. */
const GRACE_MS = 30_000;

/** A listening server. */
interface Listener {
  url: string;
  /** Takes no more connections, and waits for the last answer, or not. */
  stop(): Promise<void>;
  abort(): Promise<void>;
}

/** What handlers know of a connection. */
interface Connection {
  address(): string | undefined;
}

type Fetch = (request: Request, connection: Connection) => Response | Promise<Response>;

async function serve(checkpoint: string, options: Options): Promise<void> {
  const { device, precision, threads, slots, queue, cors: origins, rate, host, port } = options;
  const keys = keysOf(options);
  const text = textOf(checkpoint, options);
  const model = await loadModel(checkpoint, { device, precision, threads });
  const pool = model.pool({ slots, queue });
  let ready = true;
  const log = (entry: Readonly<Record<string, unknown>>) => {
    process.stdout.write(`${logLine(entry)}\n`);
  };
  const counted = new Metrics();
  const app = createApp({
    counted,
    model,
    name: nameOf(checkpoint, options),
    pool,
    patches: patchStore(keptIn(options)),
    reference: text === undefined ? undefined : model.tokenizer.encode(text, { allowSpecial: true }),
    keys,
    origins,
    rate,
    address: (c) => (c.env as Connection).address(),
    ready: () => ready,
    // The page is anyone's, who may then have its model too: not one that keys guard.
    assets: assets(keys.length > 0 ? SHIPPED : resolveCheckpoint(checkpoint)),
    log,
  });
  const fetch = refuseCrowds<Connection>((request, connection) => app.fetch(request, connection), {
    pool,
    log,
    origins,
    counted,
  });
  const listener = await listen(fetch, { host, port });
  note(`${nameOf(checkpoint, options)} on ${model.device}: ${listener.url} (reference: ${listener.url}docs)`);

  const end = async () => {
    ready = false;
    note("ending: what runs is finished first");
    const late = setTimeout(() => {
      void listener.abort();
      process.exit(1);
    }, GRACE_MS);
    // What runs may have more to ask of the pool.
    await counted.idle();
    await pool.drain();
    await listener.stop();
    clearTimeout(late);
    model.dispose();
    process.exit(0);
  };
  watchSignals((_, isFirst) => {
    if (!isFirst) process.exit(1);
    void end();
  });
}

/** As much of Deno as is needed: its types are none of Bun's. */
declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen(): void },
    handler: (request: Request, info: { remoteAddr: { hostname?: string } }) => Response | Promise<Response>,
  ): { addr: { port: number }; shutdown(): Promise<void> };
};

async function listen(fetch: Fetch, { host, port }: { host: string; port: number }): Promise<Listener> {
  const address = (port: number) => `http://${host.includes(":") ? `[${host}]` : host}:${port}/`;
  try {
    if ("Deno" in globalThis) {
      const handler = (request: Request, { remoteAddr }: { remoteAddr: { hostname?: string } }) =>
        fetch(request, { address: () => remoteAddr.hostname });
      const server = Deno.serve({ hostname: host, port, onListen() {} }, handler);
      return { url: address(server.addr.port), stop: () => server.shutdown(), abort: async () => {} };
    }
    const server = Bun.serve({
      hostname: host,
      port,
      // Of connections that ask nothing. A request may wait in the queue, and a stream for its next token, as long as it takes.
      idleTimeout: 60,
      fetch(request, server) {
        server.timeout(request, 0);
        return fetch(request, { address: () => server.requestIP(request)?.address });
      },
    });
    return { url: address(server.port!), stop: () => server.stop(), abort: () => server.stop(true) };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" || /in use/.test(message) ? "it is in use" : message;
    throw new ReflowError("usage", `${address(port)} can't be listened on: ${why}`, "give another --port", {
      cause,
    });
  }
}

/** A line for people: the log is the output. */
function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

try {
  await command(serve).exitOverride().showHelpAfterError("(--help lists all flags)").parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
  if (!(error instanceof ReflowError)) throw error;
  console.error(`error: ${error.message}`);
  if (error.help) console.error(`help:  ${error.help}`);
  process.exit(2);
}
