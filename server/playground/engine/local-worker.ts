/** Runs the runtime in a web worker of the page. The engine's methods are called by messages. */

import { blastRadius } from "../../../runtime/analysis/blast-radius.ts";
import { ReflowError } from "../../../runtime/common/errors.ts";
import { parameterCount } from "../../../runtime/config/parameter-specs.ts";
import { HELD_OUT } from "../../../runtime/formats/checkpoint-tensors.ts";
import { needsReference } from "../../../runtime/interventions/apply.ts";
import { type GenePatch, loadModel, type Model } from "../../../runtime/mod.ts";
import { Lexicon } from "../../../runtime/signals/lexicon.ts";
import { type Changes, type Engine, LIST_LENGTHS, type PatchChoice } from "./engine.ts";
import type { LocalMethods, WorkerReply, WorkerRequest } from "./local.ts";

const running = new Map<number, AbortController>();
let engine: Promise<LocalMethods> | undefined;

self.onmessage = ({ data }: MessageEvent<WorkerRequest>) => {
  if ("abort" in data) running.get(data.abort)?.abort();
  else handle(data);
};

async function handle({
  call,
  method,
  args,
  base,
}: Exclude<WorkerRequest, { abort: number }>): Promise<void> {
  const post = (reply: WorkerReply) => self.postMessage(reply);
  const controller = new AbortController();
  running.set(call, controller);
  try {
    engine ??= start(base);
    const run = (await engine)[method] as (...args: unknown[]) => Promise<unknown> | AsyncIterable<unknown>;
    const result = run(...args, controller.signal);
    if (Symbol.asyncIterator in result) {
      for await (const value of result) post({ call, value });
      post({ call, done: true });
    } else {
      post({ call, value: await result, done: true });
    }
  } catch (error) {
    const { message, help } = error as ReflowError;
    post({ call, error: { message, help: error instanceof ReflowError ? help : "reload the page" } });
  } finally {
    running.delete(call);
  }
}

async function start(base: string): Promise<LocalMethods> {
  const folder = new URL("model/", base);
  return methods(await loadModel(folder, { weights: "int8", assets: new URL("reflow/", base) }), folder);
}

/** Number of tokens of the held-out text that statistics for interventions are computed on. */
const REFERENCE_TOKENS = 1024;

/** Token ids of the held-out text; undefined if the checkpoint has none. */
async function fetchReference(model: Model, folder: URL): Promise<Int32Array | undefined> {
  const response = await fetch(new URL(HELD_OUT, folder));
  return response.ok ? model.tokenize(await response.text()).subarray(0, REFERENCE_TOKENS) : undefined;
}

function methods(model: Model, folder: URL): LocalMethods {
  const { config, tokenizer } = model;
  let lexicon: Promise<Lexicon> | undefined;
  /** The most recent patch: successive requests of the page usually repeat it. */
  let last: { expression: string; patch: Promise<GenePatch> } | undefined;
  const patchOf = async (choice: PatchChoice | undefined): Promise<GenePatch | undefined> => {
    if (!choice) return undefined;
    // The page has already resolved a name to its expression.
    const { expression } = choice as { expression: string };
    if (last?.expression !== expression) last = { expression, patch: model.createPatch(expression) };
    return last.patch;
  };
  const lexiconOf = async (patch?: PatchChoice) => {
    if (patch) return Lexicon.of(model, { patch: await patchOf(patch) });
    lexicon ??= Lexicon.of(model);
    return lexicon;
  };
  let heldOut: Promise<Int32Array | undefined> | undefined;
  const referenceOf = () => {
    heldOut ??= fetchReference(model, folder).catch((error: unknown) => {
      // Lets the next request retry the download.
      heldOut = undefined;
      throw error;
    });
    return heldOut;
  };
  const changesOf = async ({ interventions, patch }: Changes) => {
    const isNeeded = interventions.some(needsReference);
    return {
      interventions,
      patch: await patchOf(patch),
      reference: isNeeded ? await referenceOf() : undefined,
    };
  };
  return {
    info: async () => ({
      name: "in-browser model",
      device: model.device,
      parameters: parameterCount(config),
      layers: config.n_layers,
      signals: config.n_signals ?? 0,
    }),
    tokenize: async (text) =>
      Array.from(model.tokenize(text), (id) => ({ id, text: tokenizer.tokenText(id) })),
    async *steer({ prompt, maxTokens, temperature, seed, ...request }, signal) {
      const changes = await changesOf(request);
      const options = { maxTokens, temperature, seed, logprobs: 0, signal };
      for await (const event of model.steer(prompt, { ...options, ...changes })) {
        const { type, run, text } = event;
        if (type === "finish") yield { type, run, text };
        else yield { type, run, id: event.id, text, logprob: event.logprob! };
      }
    },
    async band({ prompt, target, ...request }, signal) {
      return model.chanceBand(model.tokenize(prompt), { ...(await changesOf(request)), target, signal });
    },
    async token(id, patch) {
      const lexicon = await lexiconOf(patch);
      const neighbours = await lexicon.neighbours(id, { count: LIST_LENGTHS.neighbours });
      return { ...lexicon.token(id, { count: LIST_LENGTHS.signals }), neighbours };
    },
    signal: async (id, patch) => (await lexiconOf(patch)).signal(id, { count: LIST_LENGTHS.codebook }),
    async activations({ text, signal, ...request }) {
      const options = { ...(await changesOf(request)), namesFilter: "hook_signals" };
      const cache = await model.runWithCache(model.tokenize(text), options);
      const { shape, data } = cache.get("hook_signals")!;
      return Array.from(data).filter((_, i) => i % shape.at(-1)! === signal);
    },
    async explain({ text, position, ...request }) {
      const options = { ...(await changesOf(request)), position, top: LIST_LENGTHS.signals };
      return model.explain(model.tokenize(text), options);
    },
    async lens({ text, ...request }, signal) {
      return model.lens(model.tokenize(text), {
        ...(await changesOf(request)),
        top: LIST_LENGTHS.lens,
        signal,
      });
    },
    map: async (count, patch) => (await lexiconOf(patch)).map({ count }),
    async blastRadius(patch, text, signal) {
      const ids = model.tokenize(text);
      return blastRadius(model, (await patchOf(patch))!, {
        text: ids.length > 0 ? ids : undefined,
        signal,
      });
    },
  } satisfies Partial<Engine>;
}
