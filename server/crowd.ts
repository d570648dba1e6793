import type { Services } from "./services.ts";

/** Requests without an answer, beside those that the pool can run. */
const MOST = 256;
const HEALTH = /^[^?]*\/(livez|readyz)$/;

const REFUSAL = JSON.stringify({
  error: {
    message: "too many requests are waiting already",
    type: "rate_limit_error",
    param: null,
    code: "busy",
    help: "try again in a moment",
  },
});

/**
 * Refuses what would be too many requests at once before anything is done for them. Reading and checking 10,000
 * of the same moment takes the app seconds in which it answers nobody, health checks included.
 */
export function refuseCrowds<Connection>(
  fetch: (request: Request, connection: Connection) => Response | Promise<Response>,
  { pool, log }: Pick<Services, "pool" | "log">,
): (request: Request, connection: Connection) => Response | Promise<Response> {
  const most = pool.stats().slots + MOST;
  let unanswered = 0;
  let refused = 0;
  return (request, connection) => {
    if (unanswered >= most && !HEALTH.test(request.url)) {
      // One line of the log for all of a second's.
      if (refused++ === 0) {
        setTimeout(() => {
          log({ time: new Date().toISOString(), level: "warn", status: 429, refused });
          refused = 0;
        }, 1000);
      }
      const headers = { "content-type": "application/json", "retry-after": "1" };
      return new Response(REFUSAL, { status: 429, headers });
    }
    unanswered++;
    return Promise.resolve(fetch(request, connection)).finally(() => unanswered--);
  };
}
