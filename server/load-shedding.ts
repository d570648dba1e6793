import { AdmissionQueue } from "../runtime/generation/admission-queue.ts";
import type { Services } from "./context/services.ts";
import { originOf } from "./middleware/cors.ts";

/** Pending requests allowed beyond those that the pool can run at once. */
const PENDING = 256;
const HEALTH = /^[a-z]+:\/\/[^/?]*\/(livez|readyz)(\?|$)/;

const REFUSAL = JSON.stringify({
  error: {
    message: "too many requests are pending",
    type: "rate_limit_error",
    param: null,
    code: "busy",
    help: "retry in a moment",
  },
});

/** Requests started per turn of the event loop: each takes about 0.3 ms to parse, validate and enqueue, during which health checks wait. */
const STARTS_PER_TURN = 4;

/**
 * Refuses requests above a limit before doing any work for them, and starts the others a few at a time. Parsing and validating
 * 10,000 simultaneous requests would take seconds, during which the app would answer nothing, not even health checks.
 */
export function shedLoad<Connection>(
  fetch: (request: Request, connection: Connection) => Response | Promise<Response>,
  { pool, log, origins, metrics }: Pick<Services, "pool" | "log" | "origins" | "metrics">,
): (request: Request, connection: Connection) => Response | Promise<Response> {
  const pending = new AdmissionQueue({ slots: pool.stats().slots + PENDING, queue: 0 });
  const pacer = new Pacer(STARTS_PER_TURN);
  /** CORS headers, so that allowed pages can read the refusal: see `middleware/cors.ts`. */
  const corsHeaders = ({ headers }: Request): Record<string, string> => {
    const origin = originOf(origins, headers.get("origin") ?? "");
    return origin === null ? {} : { "access-control-allow-origin": origin, vary: "Origin" };
  };
  let refused = 0;

  return (request, connection) => {
    if (HEALTH.test(request.url)) return fetch(request, connection);
    if (!pending.isFull) {
      return pending.run(async () => {
        await pacer.next();
        return fetch(request, connection);
      });
    }
    metrics?.count({ method: request.method, route: "refused", status: 429, seconds: 0, tokens: 0 });
    // One log line covers all refusals of a second.
    if (refused++ === 0) {
      setTimeout(() => {
        log({ time: new Date().toISOString(), level: "warn", status: 429, refused });
        refused = 0;
      }, 1000);
    }
    const headers = { "content-type": "application/json", "retry-after": "1", ...corsHeaders(request) };
    return new Response(REFUSAL, { status: 429, headers });
  };
}

/** Lets a fixed number of callers proceed in each turn of the event loop, in first-in, first-out order. */
class Pacer {
  readonly #perTurn: number;
  #started = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  next(): Promise<void> | undefined {
    if (this.#started === 0) setImmediate(() => this.#turn());
    if (this.#started < this.#perTurn) {
      this.#started++;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #turn(): void {
    const next = this.#waiting.splice(0, this.#perTurn);
    this.#started = next.length;
    if (next.length > 0) setImmediate(() => this.#turn());
    for (const proceed of next) proceed();
  }
}
