/** The engine that runs in this browser: calls to the worker that holds the model. Named patches are kept by the browser. */
import { type Changes, type Engine, Failure, type PatchChoice } from "./engine.ts";

/** What the worker does. */
export type LocalMethods = Omit<Engine, "patches" | "expressionOf" | "savePatch" | "deletePatch">;

/** To the worker: a call, with the page's address, or the end of one. */
export type Call =
  | { call: number; method: keyof LocalMethods; args: unknown[]; base: string }
  | { abort: number };

/** From it: a call's value, or its next; its end; what went wrong. */
export interface Answer {
  call: number;
  value?: unknown;
  done?: boolean;
  error?: { message: string; help?: string };
}

export function startLocal(): Engine {
  const worker = new Worker(new URL("local-worker.js", document.baseURI), { type: "module" });
  const listeners = new Map<number, (answer: Answer) => void>();
  let calls = 0;
  worker.onmessage = ({ data }: MessageEvent<Answer>) => listeners.get(data.call)?.(data);
  worker.onerror = ({ message }) => {
    const error = {
      message: `the model's worker failed: ${message ?? "it can't be loaded"}`,
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
    const answers: Answer[] = [];
    let wake = () => {};
    const abort = () => {
      worker.postMessage({ abort: call } satisfies Call);
      wake();
    };
    listeners.set(call, (answer) => {
      answers.push(answer);
      wake();
    });
    signal?.addEventListener("abort", abort);
    worker.postMessage({ call, method, args, base: document.baseURI } satisfies Call);
    try {
      while (true) {
        signal?.throwIfAborted();
        const next = answers.shift();
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
    throw new Failure("the model's worker gave no answer", "reload the page");
  };
  const byExpression = <T extends { patch?: PatchChoice }>(request: T): T => ({
    ...request,
    patch: request.patch && expressionOf(request.patch),
  });

  return {
    info: () => ask("info", []),
    tokenize: (text) => ask("tokenize", [text]),
    steer: (request, signal) => stream("steer", [byExpression(request)], signal),
    band: (request, signal) => ask("band", [byExpression(request)], signal),
    token: (id, patch) => ask("token", [id, patch && expressionOf(patch)]),
    signal: (id, patch) => ask("signal", [id, patch && expressionOf(patch)]),
    fires: (request) => ask("fires", [byExpression(request)]),
    explain: (request) => ask("explain", [byExpression(request)]),
    lens: (request: Changes & { text: string }, signal) => ask("lens", [byExpression(request)], signal),
    map: (count, patch) => ask("map", [count, patch && expressionOf(patch)]),
    blastRadius: (patch, text, signal) => ask("blastRadius", [expressionOf(patch), text], signal),
    patches: async () => Object.keys(kept()).sort(),
    expressionOf: async (name) => expressionOf({ name }).expression,
    async savePatch(name, expression) {
      // What can't be applied is not worth keeping.
      await ask("signal", [0, { expression }]);
      keep({ ...kept(), [name]: expression });
    },
    async deletePatch(name) {
      const { [name]: _, ...others } = kept();
      keep(others);
    },
  };
}

const PATCHES = "reflow-patches";

const kept = (): Record<string, string> => JSON.parse(localStorage.getItem(PATCHES) ?? "{}");

const keep = (patches: Record<string, string>): void =>
  localStorage.setItem(PATCHES, JSON.stringify(patches));

function expressionOf(patch: PatchChoice): { expression: string } {
  if ("expression" in patch) return patch;
  if (Object.hasOwn(kept(), patch.name)) return { expression: kept()[patch.name] };
  throw new Failure(`this browser keeps no patch "${patch.name}"`, "choose one in the Patch view");
}
