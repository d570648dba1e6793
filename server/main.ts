/** The entry of `bun run server` and `deno task server`, which differ only in how they listen. */
import { CommanderError } from "commander";
import { ReflowError } from "../runtime/common/errors.ts";
import { resolveCheckpoint } from "../runtime/formats/checkpoint.ts";
import { watchSignals } from "../runtime/host/signals.ts";
import { loadModel } from "../runtime/mod.ts";
import { createApp } from "./app.ts";
import { assets } from "./assets.ts";
import { Metrics } from "./context/metrics.ts";
import { listenInNode } from "./listen-node.ts";
import { shedLoad } from "./load-shedding.ts";
import { logLine } from "./middleware/log.ts";
import { BUNDLED_MODEL, command, keysOf, nameOf, type Options, openPatchFile, textOf } from "./options.ts";
import { patchStore } from "./patches/store.ts";

/** Time for running requests to finish after a signal; slow readers are cut off then. */
const GRACE_MS = 30_000;

/** A listening server. */
interface Listener {
  url: string;
  /** Stops accepting connections, and waits for the running responses. */
  stop(): Promise<void>;
  /** Stops without waiting. */
  abort(): Promise<void>;
}

/** The connection of a request. */
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
  const metrics = new Metrics();
  const app = createApp({
    metrics,
    model,
    name: nameOf(checkpoint, options),
    pool,
    patches: patchStore(openPatchFile(options)),
    reference: text === undefined ? undefined : model.tokenizer.encode(text, { allowSpecial: true }),
    keys,
    origins,
    rate,
    address: (c) => (c.env as Connection).address(),
    ready: () => ready,
    // The playground and its model need no key, so a model protected by keys is replaced with the bundled one.
    assets: assets(keys.length > 0 ? BUNDLED_MODEL : resolveCheckpoint(checkpoint)),
    log,
  });
  const fetch = shedLoad<Connection>((request, connection) => app.fetch(request, connection), {
    pool,
    log,
    origins,
    metrics,
  });
  const listener = await listen(fetch, { host, port });
  note(
    `${nameOf(checkpoint, options)} on ${model.device}: ${listener.url} (API reference: ${listener.url}docs)`,
  );

  const shutDown = async () => {
    ready = false;
    note("shutting down: waiting for running requests");
    const timeout = setTimeout(() => {
      void listener.abort();
      process.exit(1);
    }, GRACE_MS);
    // A running request may still need the pool, so the pool is drained last.
    await metrics.idle();
    await pool.drain();
    await listener.stop();
    clearTimeout(timeout);
    model.dispose();
    process.exit(0);
  };
  watchSignals((_, isFirst) => {
    if (!isFirst) process.exit(1);
    void shutDown();
  });
}

/** The part of Deno's API that is used here; Bun's types do not include it. */
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
    if (!("Bun" in globalThis)) {
      const { port: actual, ...server } = await listenInNode(fetch, { host, port });
      return { url: address(actual), ...server };
    }
    const server = Bun.serve({
      hostname: host,
      port,
      // For idle connections only: a request may wait in the queue, and a stream for its next token, without limit.
      idleTimeout: 60,
      fetch(request, server) {
        server.timeout(request, 0);
        return fetch(request, { address: () => server.requestIP(request)?.address });
      },
    });
    return { url: address(server.port!), stop: () => server.stop(), abort: () => server.stop(true) };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isInUse = code === "EADDRINUSE" || /in use/.test(message);
    const problem = isInUse
      ? `port ${port} is already in use`
      : `cannot listen on ${address(port)}: ${message}`;
    throw new ReflowError("usage", problem, "choose another --port", { cause });
  }
}

/** Writes a message to stderr; stdout carries the log. */
function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

try {
  await command(serve)
    .exitOverride()
    .showHelpAfterError("(use --help to list all flags)")
    .parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2);
  if (!(error instanceof ReflowError)) throw error;
  console.error(`error: ${error.message}`);
  if (error.help) console.error(`help:  ${error.help}`);
  process.exit(2);
}
