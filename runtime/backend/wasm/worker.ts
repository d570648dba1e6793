// A worker thread of the WASM backend. One message starts it; from then on it runs the kernels' loop and never returns.
import { workerThreads } from "../../common/compatibility.ts";
import type { KernelExports } from "./kernels.ts";

export interface WorkerStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
}

interface Port {
  onmessage: ((event: MessageEvent<WorkerStart>) => void) | null;
  postMessage(message: string): void;
}

const inNode = !("postMessage" in globalThis);
const port = (inNode ? workerThreads()!.parentPort : globalThis) as unknown as Port;

port.onmessage = async ({ data: { module, memory, thread } }) => {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  port.postMessage("ready");
  (exports as KernelExports).work(thread, 0);
};
