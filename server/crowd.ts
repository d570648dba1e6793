import { originOf } from "./middleware/cors.ts";
import type { Services } from "./services.ts";

/** Requests without an answer, beside those that the pool can run. */
const MOST = 256;
const HEALTH = /^[a-z]+:\/\/[^/?]*\/(livez|readyz)(\?|$)/;

const REFUSAL = JSON.stringify({
  error: {
    message: "too many requests are waiting already",
    type: "rate_limit_error",
    param: null,
    code: "busy",
    help: "try again in a moment",
  },
});

/** Requests begun in a turn of the event loop: each is read, checked and queued for some 0.3 ms, and health checks wait meanwhile. */
const AT_ONCE = 4;

/**
 * Refuses what would be too many requests at once before anything is done for them, and begins the others a few at a time. Reading
 * and checking 10,000 of the same moment takes the app seconds in which it answers nobody, health checks included.
 */
export function refuseCrowds<Connection>(
  fetch: (request: Request, connection: Connection) => Response | Promise<Response>,
  { pool, log, origins, counted }: Pick<Services, "pool" | "log" | "origins" | "counted">,
): (request: Request, connection: Connection) => Response | Promise<Response> {
  const most = pool.stats().slots + MOST;
  const turns = new Turns(AT_ONCE);
  /** Pages of these origins may read it: see `middleware/cors.ts`. */
  const allowed = ({ headers }: Request): Record<string, string> => {
    const origin = originOf(origins, headers.get("origin") ?? "");
    return origin === null ? {} : { "access-control-allow-origin": origin, vary: "Origin" };
  };
  let unanswered = 0;
  let refused = 0;

  const answer = async (request: Request, connection: Connection): Promise<Response> => {
    unanswered++;
    try {
      await turns.next();
      return await fetch(request, connection);
    } finally {
      unanswered--;
    }
  };
  return (request, connection) => {
    if (HEALTH.test(request.url)) return fetch(request, connection);
    if (unanswered < most) return answer(request, connection);
    counted?.count({ method: request.method, route: "refused", status: 429, seconds: 0, tokens: 0 });
    // One line of the log for all of a second's.
    if (refused++ === 0) {
      setTimeout(() => {
        log({ time: new Date().toISOString(), level: "warn", status: 429, refused });
        refused = 0;
      }, 1000);
    }
    const headers = { "content-type": "application/json", "retry-after": "1", ...allowed(request) };
    return new Response(REFUSAL, { status: 429, headers });
  };
}

/** Lets so many go on in each turn of the event loop, in their order. */
class Turns {
  readonly #most: number;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
  }

  next(): Promise<void> | undefined {
    if (this.#taken === 0) setImmediate(() => this.#turn());
    if (this.#taken < this.#most) {
      this.#taken++;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #turn(): void {
    const next = this.#waiting.splice(0, this.#most);
    this.#taken = next.length;
    if (next.length > 0) setImmediate(() => this.#turn());
    for (const go of next) go();
  }
}
