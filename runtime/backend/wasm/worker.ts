// A worker thread of the WASM backend: one message starts it, and from then on it lives inside the kernels.
import type { KernelExports } from "./kernels.ts";

export interface WorkerStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread: number;
}

const scope = globalThis as unknown as {
  onmessage: ((event: MessageEvent<WorkerStart>) => void) | null;
  postMessage(message: string): void;
};

scope.onmessage = async ({ data: { module, memory, thread } }) => {
  const { exports } = await WebAssembly.instantiate(module, { env: { memory } });
  scope.postMessage("ready");
  (exports as KernelExports).work(thread, 0);
};
