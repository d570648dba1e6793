/** The engine that runs in the browser: it calls the web worker that holds the model. Named patches are saved in local storage. */
import { type Changes, type Engine, Failure, type PatchChoice } from "./engine.ts";

/** The engine's methods that run in the worker. */
export type LocalMethods = Omit<Engine, "patches" | "patchExpression" | "savePatch" | "deletePatch">;

/** Message to the worker: a method call with the page's base URL, or the cancellation of a call. */
export type WorkerRequest =
  | { call: number; method: keyof LocalMethods; args: unknown[]; base: string }
  | { abort: number };

/** Message from the worker: the value of a call (or the next one of a stream), its end, or its error. */
export interface WorkerReply {
  call: number;
  value?: unknown;
  done?: boolean;
  error?: { message: string; help?: string };
}

export function startLocal(): Engine {
  const worker = new Worker(new URL("local-worker.js", document.baseURI), { type: "module" });
  const listeners = new Map<number, (reply: WorkerReply) => void>();
  let calls = 0;
  worker.onmessage = ({ data }: MessageEvent<WorkerReply>) => listeners.get(data.call)?.(data);
  worker.onerror = ({ message }) => {
    const error = {
      message: `the web worker of the model failed: ${message ?? "it could not be loaded"}`,
      help: "reload the page",
    };
    for (const [call, listen] of listeners) listen({ call, error });
  };

  async function* stream<T>(
    method: keyof LocalMethods,
    args: unknown[],
    signal?: AbortSignal,
  ): AsyncGenerator<T> {
    const call = ++calls;
    const replies: WorkerReply[] = [];
    let wake = () => {};
    const abort = () => {
      worker.postMessage({ abort: call } satisfies WorkerRequest);
      wake();
    };
    listeners.set(call, (reply) => {
      replies.push(reply);
      wake();
    });
    signal?.addEventListener("abort", abort);
    worker.postMessage({ call, method, args, base: document.baseURI } satisfies WorkerRequest);
    try {
      while (true) {
        signal?.throwIfAborted();
        const next = replies.shift();
        if (!next) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        if (next.error) throw new Failure(next.error.message, next.error.help);
        if (!next.done || next.value !== undefined) yield next.value as T;
        if (next.done) return;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      listeners.delete(call);
    }
  }
  const ask = async <T>(method: keyof LocalMethods, args: unknown[], signal?: AbortSignal): Promise<T> => {
    for await (const value of stream<T>(method, args, signal)) return value;
    throw new Failure("the web worker of the model sent no reply", "reload the page");
  };
  const withExpression = <T extends { patch?: PatchChoice }>(request: T): T => ({
    ...request,
    patch: request.patch && expressionOf(request.patch),
  });

  return {
    info: () => ask("info", []),
    tokenize: (text) => ask("tokenize", [text]),
    steer: (request, signal) => stream("steer", [withExpression(request)], signal),
    band: (request, signal) => ask("band", [withExpression(request)], signal),
    token: (id, patch) => ask("token", [id, patch && expressionOf(patch)]),
    signal: (id, patch) => ask("signal", [id, patch && expressionOf(patch)]),
    activations: (request) => ask("activations", [withExpression(request)]),
    explain: (request) => ask("explain", [withExpression(request)]),
    lens: (request: Changes & { text: string }, signal) => ask("lens", [withExpression(request)], signal),
    map: (count, patch) => ask("map", [count, patch && expressionOf(patch)]),
    blastRadius: (patch, text, signal) => ask("blastRadius", [expressionOf(patch), text], signal),
    patches: async () => Object.keys(savedPatches()).sort(),
    patchExpression: async (name) => expressionOf({ name }).expression,
    async savePatch(name, expression) {
      // Rejects an expression that does not parse, before it is saved.
      await ask("signal", [0, { expression }]);
      storePatches({ ...savedPatches(), [name]: expression });
    },
    async deletePatch(name) {
      const { [name]: _, ...others } = savedPatches();
      storePatches(others);
    },
  };
}

/** Key in local storage. */
const PATCHES = "reflow-patches";

const savedPatches = (): Record<string, string> => JSON.parse(localStorage.getItem(PATCHES) ?? "{}");

const storePatches = (patches: Record<string, string>): void =>
  localStorage.setItem(PATCHES, JSON.stringify(patches));

function expressionOf(patch: PatchChoice): { expression: string } {
  if ("expression" in patch) return patch;
  if (Object.hasOwn(savedPatches(), patch.name)) return { expression: savedPatches()[patch.name] };
  throw new Failure(
    `no patch named "${patch.name}" is saved in this browser`,
    "choose one in the Patch view",
  );
}
