/** `POST /v1/completions` and the list of models, compatible with the OpenAI API. */
import { Hono } from "hono";
import { parameterCount } from "../../runtime/config/parameter-specs.ts";
import type { FinishEvent, GenerateEvent, GenerateOptions } from "../../runtime/generation/options.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { RequestRecord } from "../context/request-record.ts";
import type { AppEnv, RouteServices } from "../context/services.ts";
import { ApiError } from "../middleware/errors.ts";
import {
  type Choice,
  type Completion,
  type CompletionRequest,
  completion,
  completionRequest,
  type Logprobs,
  modelCard,
  modelList,
} from "../schemas/completions.ts";
import { LIMITS } from "../schemas/fields.ts";
import { changesOf, checkModel, idsOf, randomSeed, samplingOf } from "./request-options.ts";
import { merge, stream, watchDisconnect } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "OpenAI";

export function completionRoutes(services: RouteServices) {
  return new Hono<AppEnv>()
    .post(
      "/v1/completions",
      describe("Create a completion", {
        tag,
        description:
          "Compatible with the OpenAI API, with the additional fields `interventions`, `patch` and `reference`. Choice j of `n` uses the seed `seed` + j, and does not depend on the other choices.",
        answer: completion,
        streams: "With `stream`: completions with the new text of their choices, then `[DONE]`",
      }),
      body(completionRequest),
      async (c) => {
        const request = c.req.valid("json");
        checkModel(services, request.model);
        const disconnect = watchDisconnect(c);
        const run = await start(services, request, disconnect.signal);
        c.var.record.tokens += run.usage.prompt_tokens;
        if (request.stream) return stream(c, chunks(run, request, c.var.record), disconnect, services);
        return c.json(await collect(run, c.var.record));
      },
    )
    .get("/v1/models", describe("List models", { tag, answer: modelList }), (c) =>
      c.json({ object: "list" as const, data: [cardOf(services)] }),
    )
    .get("/v1/models/:id", describe("Get a model", { tag, answer: modelCard }), (c) => {
      checkModel(services, c.req.param("id"));
      return c.json(cardOf(services));
    });
}

/** Start time of this server, in seconds since 1970. */
const created = Math.floor(Date.now() / 1000);

function cardOf({ model, name }: RouteServices) {
  return {
    id: name,
    object: "model" as const,
    created,
    owned_by: "reflow",
    checkpoint: model.checkpoint ?? null,
    config: { ...model.config } as Record<string, unknown>,
    parameters: parameterCount(model.config),
    tokens: Math.min(model.tokenizer.vocabSize, model.config.vocab_size),
    device: model.device,
  };
}

/** The new part of a choice, and whether it is a token. */
interface Delta {
  choice: Choice;
  token: boolean;
}

/** A completion being generated. */
interface Run {
  model: Model;
  head: Pick<Completion, "id" | "object" | "created" | "model">;
  choices: number;
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
  deltas: AsyncGenerator<Delta, void, undefined>;
}

async function start(services: RouteServices, request: CompletionRequest, signal: AbortSignal): Promise<Run> {
  const { model, pool, name } = services;
  const { n, echo, logprobs, seed = randomSeed() } = request;
  const prompts = promptsOf(request.prompt).map((prompt) => idsOf(model, prompt));
  checkCounts(request, prompts.length, pool.stats());
  const changes = await changesOf(services, request, signal);
  const options: GenerateOptions = {
    ...samplingOf(request),
    ...changes,
    maxTokens: request.max_tokens,
    logprobs,
    signal,
  };
  const echoes = echo ? await echoesOf(services, prompts, options) : [];
  const runs = prompts.flatMap((ids, p) =>
    Array.from({ length: n }, (_, j) => {
      const events = pool.generate(ids, { ...options, seed: seed + j });
      return deltasOf(model, events, { index: p * n + j, echo: echoes[p], scored: logprobs !== undefined });
    }),
  );
  const prompt_tokens = prompts.reduce((sum, { length }) => sum + Math.max(1, length), 0);
  return {
    model,
    head: {
      id: `cmpl-${crypto.randomUUID()}`,
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model: name,
    },
    choices: runs.length,
    usage: { prompt_tokens, completion_tokens: 0, total_tokens: prompt_tokens },
    deltas: runs.length === 1 ? runs[0] : merge(runs),
  };
}

function promptsOf(prompt: CompletionRequest["prompt"]): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : (prompt as (string | number[])[]);
}

function checkCounts(
  { n, best_of = n }: CompletionRequest,
  prompts: number,
  { slots, queue }: { slots: number; queue: number },
): void {
  const refuse = (message: string, help: string, param: string) =>
    new ApiError(400, "usage", message, help, { param });
  if (best_of !== n)
    throw refuse(
      `best_of (${best_of}) must equal n (${n})`,
      "omit best_of: all choices are returned",
      "best_of",
    );
  // A request that exceeds the pool's capacity can never succeed, so it gets 400 and not 429.
  const most = Math.min(LIMITS.sequences, slots + queue);
  if (prompts * n > most) {
    throw refuse(
      `${prompts} prompts with ${n} choices each exceed the limit of ${most} sequences`,
      "use fewer prompts or choices",
      "n",
    );
  }
}

/** A token's text, or OpenAI's `bytes:` notation for a token that holds part of a character. */
function tokenName(model: Model, id: number): string {
  const text = model.tokenizer.tokenText(id);
  if (!text.includes("\ufffd")) return text;
  const bytes = Array.from(
    model.tokenizer.tokenBytes(id),
    (byte) => `\\x${byte.toString(16).padStart(2, "0")}`,
  );
  return `bytes:${bytes.join("")}`;
}

interface Scored {
  id: number;
  logprob?: number;
  topLogprobs?: readonly { id: number; logprob: number }[];
}

/** Start offsets of tokens, in code points as in the OpenAI API. Several tokens may belong to one code point. */
class Offsets {
  readonly #tokenizer: Model["tokenizer"];
  readonly #decoder = new TextDecoder();
  #offset: number;

  constructor({ tokenizer }: Model, text = "") {
    this.#tokenizer = tokenizer;
    this.#offset = [...text].length;
  }

  next(id: number): number {
    const start = this.#offset;
    this.#offset += [...this.#decoder.decode(this.#tokenizer.tokenBytes(id), { stream: true })].length;
    return start;
  }
}

/** Log-probabilities in OpenAI's format, where `top_logprobs` always includes the token itself. */
function logprobsOf(model: Model, tokens: readonly Scored[], offsets: Offsets): Logprobs {
  const top = tokens.map(({ topLogprobs, ...token }) =>
    topLogprobs && topLogprobs.length > 0
      ? Object.fromEntries([...topLogprobs, token].map(({ id, logprob }) => [tokenName(model, id), logprob!]))
      : null,
  );
  return {
    tokens: tokens.map(({ id }) => tokenName(model, id)),
    token_logprobs: tokens.map(({ logprob }) => logprob ?? null),
    top_logprobs: top.some((each) => each) ? top : null,
    text_offset: tokens.map(({ id }) => offsets.next(id)),
  };
}

/** A prompt that is echoed in a choice. */
interface Echo {
  text: string;
  logprobs: Logprobs | null;
}

/** Scores the prompts sequentially, in one slot of the analysis queue per request. */
async function echoesOf(
  { model, analysisQueue }: RouteServices,
  prompts: readonly Int32Array[],
  { logprobs: top, interventions, patch, reference, signal }: GenerateOptions,
): Promise<Echo[]> {
  const plain = (ids: Int32Array): Echo => ({ text: model.tokenizer.decode(ids), logprobs: null });
  if (top === undefined) return prompts.map(plain);
  const options = { top, interventions, patch, reference, signal };
  const echoes: Echo[] = [];
  await analysisQueue.run(
    async () => {
      for (const ids of prompts) {
        const scores = ids.length > 0 ? await model.scoreTokens(ids, options) : [];
        const tokens = scores.map(({ id, logprob, top }) => ({
          id,
          logprob,
          topLogprobs: logprob === undefined ? undefined : top,
        }));
        const logprobs = ids.length > 0 ? logprobsOf(model, tokens, new Offsets(model)) : null;
        echoes.push({ ...plain(ids), logprobs });
      }
    },
    { signal },
  );
  return echoes;
}

async function* deltasOf(
  model: Model,
  events: AsyncGenerator<GenerateEvent, void, undefined>,
  { index, echo, scored }: { index: number; echo: Echo | undefined; scored: boolean },
): AsyncGenerator<Delta, void, undefined> {
  const nothing = { index, text: "", logprobs: null, finish_reason: null };
  if (echo) yield { choice: { ...nothing, ...echo }, token: false };
  const offsets = new Offsets(model, echo?.text);
  for await (const event of events) {
    const { text } = event;
    if (event.type === "finish") {
      yield { choice: { ...nothing, text, finish_reason: finishReason(event) }, token: false };
    } else {
      const logprobs = scored ? logprobsOf(model, [event], offsets) : null;
      yield { choice: { ...nothing, text, logprobs }, token: true };
    }
  }
}

const finishReason = ({ reason }: FinishEvent): "stop" | "length" =>
  reason === "length" ? "length" : "stop";

function countToken({ usage }: Run, record: RequestRecord): void {
  usage.completion_tokens++;
  usage.total_tokens++;
  record.tokens++;
}

/** The events of a streamed completion. */
async function* chunks(
  run: Run,
  { stream_options }: CompletionRequest,
  record: RequestRecord,
): AsyncGenerator<Completion, void, undefined> {
  const { head, deltas, usage } = run;
  const includeUsage = stream_options?.include_usage;
  for await (const { choice, token } of deltas) {
    if (token) countToken(run, record);
    // Text may lag behind tokens, for example within a character; such a delta is empty.
    if (choice.text === "" && !choice.logprobs && !choice.finish_reason) continue;
    yield { ...head, choices: [choice], ...(includeUsage && { usage: null }) };
  }
  if (includeUsage) yield { ...head, choices: [], usage };
}

async function collect(run: Run, record: RequestRecord): Promise<Completion> {
  const { head, deltas, usage } = run;
  const found = Array.from({ length: run.choices }, (): Choice[] => []);
  for await (const { choice, token } of deltas) {
    if (token) countToken(run, record);
    found[choice.index].push(choice);
  }
  const choices = found.map((parts, index): Choice => {
    const scored = parts.flatMap(({ logprobs }) => logprobs ?? []);
    return {
      index,
      text: parts.map(({ text }) => text).join(""),
      logprobs: scored.length > 0 ? joinLogprobs(scored) : null,
      finish_reason: parts.at(-1)!.finish_reason,
    };
  });
  return { ...head, choices, usage };
}

const joinLogprobs = (parts: readonly Logprobs[]): Logprobs => ({
  tokens: parts.flatMap(({ tokens }) => tokens),
  token_logprobs: parts.flatMap(({ token_logprobs }) => token_logprobs),
  top_logprobs: parts.some(({ top_logprobs }) => top_logprobs)
    ? parts.flatMap(({ tokens, top_logprobs }) => top_logprobs ?? tokens.map(() => null))
    : null,
  text_offset: parts.flatMap(({ text_offset }) => text_offset),
});
