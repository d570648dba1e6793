/** Starts a server with a tiny model for tests of invalid and malicious requests. */
import { connect, type Socket } from "node:net";
import { createApp } from "../../server/app.ts";
import type { Services } from "../../server/context/services.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

export interface Failure {
  message: string;
  type: string;
  param: string | null;
  code: string;
  help: string;
  id: string;
}

export async function listen(services: Partial<Services> = {}) {
  const model = await tinyModel({ context: 256 });
  const pool = model.pool({ slots: 4, queue: 8 });
  const entries: Record<string, unknown>[] = [];
  const log = (entry: object) => void entries.push({ ...entry });
  const app = createApp(servicesOf(model, { pool, log, ...services }));
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: app.fetch });

  const json = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(new URL(path, server.url), {
      method: "POST",
      body:
        typeof body === "string" || body instanceof Uint8Array ? (body as BodyInit) : JSON.stringify(body),
      ...init,
      headers: { "content-type": "application/json", ...init.headers },
    });

  return {
    app,
    pool,
    entries,
    url: server.url,
    json,
    /** The text of a valid completion, which must stay the same. */
    async complete(headers: Record<string, string> = {}): Promise<string> {
      const body = { model: "tiny", prompt: "the king", max_tokens: 6, seed: 1 };
      const response = await json("/v1/completions", body, { headers });
      const answer = (await response.json()) as { choices: { text: string }[] };
      if (response.status !== 200) throw new Error(`a valid completion failed: ${JSON.stringify(answer)}`);
      return answer.choices[0].text;
    },
    /** Sends raw bytes, and returns what arrives until the server has answered or closed the connection. */
    raw(bytes: string | Uint8Array): Promise<string> {
      return new Promise((resolve, reject) => {
        const socket: Socket = connect(Number(server.port), "127.0.0.1", () => socket.write(bytes));
        let answer = "";
        const end = () => {
          socket.destroy();
          resolve(answer);
        };
        socket.on("data", (data) => {
          answer += data;
          if (/\r\n\r\n[\s\S]*\}/.test(answer)) end();
        });
        socket.on("close", end);
        socket.on("error", (error: Error & { code?: string }) => (answer ? end() : reject(error)));
      });
    },
    /** Waits until the pool is empty. @returns milliseconds waited */
    async idle(): Promise<number> {
      const start = performance.now();
      while (pool.stats().active + pool.stats().queued > 0) {
        if (performance.now() - start > 3000) throw new Error(`still busy: ${JSON.stringify(pool.stats())}`);
        await Bun.sleep(1);
      }
      return performance.now() - start;
    },
    async stop(): Promise<void> {
      await server.stop(true);
      model[Symbol.dispose]();
    },
  };
}
