/** Server-sent events, from generators. */
import type { Context, TypedResponse } from "hono";
import { failureOf } from "../middleware/errors.ts";
import type { AppEnv, Services } from "../services.ts";

/** Who doesn't read for so long holds an answer that nobody gets. */
const STALL_MS = 60_000;

const encoder = new TextEncoder();

/** Aborts when the client leaves: before an answer begins, or in the middle of a stream. */
export interface Departure {
  readonly signal: AbortSignal;
  /** To be called when a stream is given up by who reads it. */
  leave(): void;
}

export function departureOf(c: Context<AppEnv>): Departure {
  const left = new AbortController();
  return {
    signal: AbortSignal.any([c.req.raw.signal, left.signal]),
    leave: () => left.abort(new DOMException("the client left", "AbortError")),
  };
}

/**
 * Streams values as events of JSON, each as soon as it is there and never before the last one is taken, then `[DONE]`. An error ends the
 * stream with an event of its own.
 *
 * @param events of which the first is waited for here: what is wrong with a request is its answer, not an event
 */
export async function stream(
  c: Context<AppEnv>,
  events: AsyncGenerator<unknown, void, undefined>,
  { leave }: Departure,
  { stallMs = STALL_MS }: Pick<Services, "stallMs">,
): Promise<Response & TypedResponse<string, 200, "text">> {
  let next = await events.next();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  c.var.account.ended = ended;
  let stalled: ReturnType<typeof setTimeout> | undefined;
  const send = (controller: ReadableStreamDefaultController<Uint8Array>, data: string) =>
    controller.enqueue(encoder.encode(`data: ${data}\n\n`));
  const giveUp = async () => {
    clearTimeout(stalled);
    leave();
    end();
    await events.return();
  };
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(stalled);
        try {
          if (!next.done) {
            send(controller, JSON.stringify(next.value));
            next = await events.next();
            stalled = setTimeout(() => {
              controller.error(new Error("nobody reads it"));
              giveUp();
            }, stallMs);
            return;
          }
          send(controller, "[DONE]");
        } catch (error) {
          send(controller, JSON.stringify(failureOf(error as Error, c)));
        }
        controller.close();
        end();
      },
      cancel: giveUp,
    },
    { highWaterMark: 0 },
  );
  // A body, as hono's clients see it: of text, beside the other's JSON.
  return c.body(body, 200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
  }) as unknown as Response & TypedResponse<string, 200, "text">;
}

/** The same, once its first value is there. */
export async function begun<T>(
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

/** What several generators yield, as it comes. They are all ended when one fails, or this one is. */
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
    // What they still have to say is nobody's business, an error least of all.
    for (const last of pending.values()) last.catch(() => {});
    await Promise.allSettled(sources.map((source) => source.return()));
  }
}
