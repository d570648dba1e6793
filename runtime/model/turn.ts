/** Other tasks of the event loop get a turn this often: a model on the CPU never waits by itself. */
const TURN_MS = 10;

let lastTurn = performance.now();

/** To be called often: lets other tasks run now and then, and throws once the signal is aborted. */
export async function takeTurn(signal?: AbortSignal): Promise<void> {
  if (performance.now() - lastTurn > TURN_MS) {
    await nextTask();
    lastTurn = performance.now();
  }
  signal?.throwIfAborted();
}

/** Waits for the event loop's next task. 0.02 ms in Bun and 0.1 ms in Deno, where setTimeout takes 1 to 2 ms. */
function nextTask(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
