import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Answers a request; the second argument gives the client's address. */
type Handler = (
  request: Request,
  connection: { address(): string | undefined },
) => Response | Promise<Response>;

/**
 * Listens in Node.js, which has no server that takes a `fetch` handler.
 *
 * @throws NodeJS.ErrnoException if the port is in use or not permitted
 */
export async function listenInNode(fetch: Handler, { host, port }: { host: string; port: number }) {
  const { createAdaptorServer } = await import("@hono/node-server");
  const server = createAdaptorServer({
    hostname: host,
    // The server keeps the global Request and Response as they are: the app compares with them.
    overrideGlobalObjects: false,
    fetch: (request, { incoming }) => fetch(request, { address: () => incoming.socket.remoteAddress }),
  }) as Server;
  server.listen(port, host);
  // Rejects if the server emits `error`.
  await once(server, "listening");
  const stop = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return {
    port: (server.address() as AddressInfo).port,
    stop() {
      const stopped = stop();
      server.closeIdleConnections();
      return stopped;
    },
    async abort() {
      server.closeAllConnections();
    },
  };
}
