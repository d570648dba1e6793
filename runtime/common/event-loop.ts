/** In Cloudflare's Workers the clock stands still while code runs, and messages to oneself are no tasks of their own. */
const IS_WORKERD = globalThis.navigator?.userAgent === "Cloudflare-Workers";
/** Other tasks of the event loop get a turn this often: a model on the CPU never waits by itself. */
const TURN_MS = IS_WORKERD ? -1 : 10;

let lastTurn = performance.now();
/** Computations that have given a turn, and not had the next one. */
let waiting = 0;

/** To be called often: lets other tasks run now and then, and throws once the signal is aborted. */
export async function takeTurn(signal?: AbortSignal): Promise<void> {
  if (performance.now() - lastTurn > TURN_MS) await giveTurn();
  signal?.throwIfAborted();
}

/** The same where something is to be sent: now, unless it is another computation that would have the turn. */
export async function sendTurn(): Promise<void> {
  if (waiting > 0) return takeTurn();
  return giveTurn();
}

async function giveTurn(): Promise<void> {
  waiting++;
  await nextTask();
  waiting--;
  lastTurn = performance.now();
}

/**
 * Waits for the event loop's next task. 0.003 ms in Bun and 0.03 ms in Deno, where setTimeout takes 1 to 2 ms. A message to oneself
 * is as quick, but in Bun it comes before sockets: a server sees that a client has gone after 66 ms in place of 6.
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
