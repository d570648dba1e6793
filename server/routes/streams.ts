/** Streams the values of generators as server-sent events. */

import type { Context, TypedResponse } from "hono";
import { withResolvers } from "../../runtime/common/compatibility.ts";
import type { AppEnv, Services } from "../context/services.ts";
import { errorBody } from "../middleware/errors.ts";

/** Default time after which a stream is closed if the client stops reading. */
const STALL_MS = 60_000;

const encoder = new TextEncoder();

/** Signals that the client disconnected, before the response begins or during a stream. */
export interface Disconnect {
  readonly signal: AbortSignal;
  /** Called when the reader of a stream cancels it. */
  abort(): void;
}

export function watchDisconnect(c: Context<AppEnv>): Disconnect {
  const cancelled = new AbortController();
  return {
    signal: AbortSignal.any([c.req.raw.signal, cancelled.signal]),
    abort: () => cancelled.abort(new DOMException("the client disconnected", "AbortError")),
  };
}

/**
 * Streams values as JSON events, followed by `[DONE]`. An event is sent once the client has read the previous one. An error is sent
 * as the last event.
 *
 * @param events the first value is awaited before the response begins, so that an invalid request gets an error status
 */
export async function stream(
  c: Context<AppEnv>,
  events: AsyncGenerator<unknown, void, undefined>,
  { abort }: Disconnect,
  { stallTimeoutMs = STALL_MS }: Pick<Services, "stallTimeoutMs">,
): Promise<Response & TypedResponse<string, 200, "text">> {
  let next = await events.next();
  const { promise: ended, resolve: end } = withResolvers<void>();
  c.var.record.ended = ended;
  let stallTimer: ReturnType<typeof setTimeout> | undefined;
  const send = (controller: ReadableStreamDefaultController<Uint8Array>, data: string) =>
    controller.enqueue(encoder.encode(`data: ${data}\n\n`));
  const cancel = async () => {
    clearTimeout(stallTimer);
    abort();
    end();
    await events.return();
  };
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stallTimer);
        try {
          if (!next.done) {
            send(controller, JSON.stringify(next.value));
            next = await events.next();
            stallTimer = setTimeout(() => {
              controller.error(new Error("the client stopped reading"));
              cancel();
            }, stallTimeoutMs);
            return;
          }
          send(controller, "[DONE]");
        } catch (error) {
          send(controller, JSON.stringify(errorBody(error as Error, c)));
        }
        controller.close();
        end();
      },
      cancel,
    },
    { highWaterMark: 0 },
  );
  // For hono's typed client: a text response beside the JSON one.
  return c.body(body, 200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  }) as unknown as Response & TypedResponse<string, 200, "text">;
}

/** Waits for a generator's first value, then returns a generator of all its values. */
export async function awaitFirst<T>(
  source: AsyncGenerator<T, void, undefined>,
): Promise<AsyncGenerator<T, void, undefined>> {
  const first = await source.next();
  return (async function* () {
    try {
      if (first.done) return;
      yield first.value;
      yield* source;
    } finally {
      await source.return();
    }
  })();
}

/** Yields the values of several generators as they arrive. All are closed when one fails or when this one is closed. */
export async function* merge<T>(
  sources: readonly AsyncGenerator<T, void, undefined>[],
): AsyncGenerator<T, void, undefined> {
  const nextOf = async (source: AsyncGenerator<T, void, undefined>) => ({
    source,
    result: await source.next(),
  });
  const pending = new Map(sources.map((source) => [source, nextOf(source)]));
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(source);
      } else {
        pending.set(source, nextOf(source));
        yield result.value;
      }
    }
  } finally {
    // Pending results, including errors, are discarded.
    for (const last of pending.values()) last.catch(() => {});
    await Promise.allSettled(sources.map((source) => source.return()));
  }
}
