/** In Cloudflare Workers the clock does not advance while code runs, and a message to itself is not a separate task. */
const IS_WORKERD = globalThis.navigator?.userAgent === "Cloudflare-Workers";
/** Maximum time between yields: a model on the CPU computes without ever waiting. */
const YIELD_INTERVAL_MS = IS_WORKERD ? -1 : 10;

let lastYield = performance.now();
/** Number of computations that have yielded and not resumed yet. */
let yielding = 0;

/**
 * Lets other tasks of the event loop run if the last yield was long enough ago. Long computations call it often.
 *
 * @throws the reason of `signal` once it is aborted
 */
export async function yieldToEventLoop(signal?: AbortSignal): Promise<void> {
  if (performance.now() - lastYield > YIELD_INTERVAL_MS) await yieldNow();
  signal?.throwIfAborted();
}

/** Yields at once, so that data for clients is sent, unless another computation would be resumed instead. */
export async function flushToClients(): Promise<void> {
  if (yielding > 0) return yieldToEventLoop();
  return yieldNow();
}

async function yieldNow(): Promise<void> {
  yielding++;
  await nextTask();
  yielding--;
  lastYield = performance.now();
}

/**
 * Waits for the event loop's next task: 0.003 ms in Bun and 0.03 ms in Deno, where setTimeout takes 1 to 2 ms. A message
 * channel is as fast, but in Bun its messages precede sockets: a server then detects a disconnect after 66 ms, not 6.
 */
function nextTask(): Promise<void> {
  if (IS_WORKERD) return new Promise((resolve) => setTimeout(resolve, 0));
  if ("setImmediate" in globalThis) return new Promise((resolve) => setImmediate(resolve));
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
