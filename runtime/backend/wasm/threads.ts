/** Worker threads of the WASM backend: Web Workers, or `node:worker_threads` in Node.js, which has no global `Worker`. */
import { availableCores, workerThreads } from "../../common/compatibility.ts";
import { ReflowError } from "../../common/errors.ts";
import type { WorkerStart } from "./worker.ts";

/** A running thread. It does not keep the process alive. */
export type Thread = Pick<Worker, "terminate">;

/** The default number of threads: one for each core. */
export const defaultThreads = (): number =>
  globalThis.navigator?.hardwareConcurrency ?? availableCores() ?? 1;

/** Whether memory can be shared with threads. A page must be cross-origin isolated for that. */
export function canShareMemory(): boolean {
  const hasThreads = typeof Worker === "function" || workerThreads() !== undefined;
  return typeof SharedArrayBuffer === "function" && hasThreads;
}

/**
 * Starts a thread and waits until it has instantiated the kernels.
 *
 * @param assets the folder of `worker.js` in a bundle; see `WasmOptions`
 * @throws ReflowError `device` if the thread does not start
 */
export function startThread(assets: URL | undefined, start: WorkerStart): Promise<Thread> {
  // The published package holds compiled JavaScript.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const url = assets ? new URL("worker.js", assets) : new URL(`./worker.${extension}`, import.meta.url);
  return typeof Worker === "function" ? startWebWorker(url, start) : startNodeWorker(url, start);
}

const failure = (what: string) =>
  new ReflowError("device", `a worker thread did not start: ${what}`, "try one thread");

function startWebWorker(url: URL, start: WorkerStart): Promise<Thread> {
  const worker = new Worker(url, { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = () => resolve(worker);
    // A page gives no reason for a worker that it cannot fetch.
    worker.onerror = ({ message }) => reject(failure(message ?? `${url} cannot be loaded`));
    worker.postMessage(start);
    // A blocked worker must not keep the process alive (Bun has unref, Deno ends with the main module).
    (worker as { unref?(): void }).unref?.();
  });
}

function startNodeWorker(url: URL, start: WorkerStart): Promise<Thread> {
  const { Worker } = workerThreads()!;
  const worker = new Worker(url);
  return new Promise((resolve, reject) => {
    worker.once("message", () => {
      worker.unref();
      resolve(worker);
    });
    worker.once("error", ({ message }) => reject(failure(message)));
    worker.postMessage(start);
  });
}
