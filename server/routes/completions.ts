/** `POST /v1/completions` and the models, as OpenAI's clients know them. */
import { Hono } from "hono";
import { parameterCount } from "../../runtime/config/config.ts";
import type { FinishEvent, GenerateEvent, GenerateOptions } from "../../runtime/generation/generate.ts";
import type { Model } from "../../runtime/model/model.ts";
import type { Account } from "../middleware/account.ts";
import { Refusal } from "../middleware/errors.ts";
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
import { MOST } from "../schemas/fields.ts";
import type { AppEnv, Tools } from "../services.ts";
import { changesOf, checkModel, idsOf, samplingOf, someSeed } from "./requests.ts";
import { departureOf, merge, stream } from "./streams.ts";
import { body, describe } from "./validate.ts";

const tag = "OpenAI";

export function completionRoutes(tools: Tools) {
  return new Hono<AppEnv>()
    .post(
      "/v1/completions",
      describe("Continue a text", {
        tag,
        description:
          "As OpenAI's, with `interventions` and `patch`. Choice j of `n` is what `seed` + j gives, alone or among others.",
        answer: completion,
        streams: "With `stream`: completions with what is new, then `[DONE]`",
      }),
      body(completionRequest),
      async (c) => {
        const request = c.req.valid("json");
        checkModel(tools, request.model);
        const departure = departureOf(c);
        const run = await start(tools, request, departure.signal);
        c.var.account.tokens += run.usage.prompt_tokens;
        if (request.stream) return stream(c, chunks(run, request, c.var.account), departure, tools);
        return c.json(await whole(run, c.var.account));
      },
    )
    .get("/v1/models", describe("The models", { tag, answer: modelList }), (c) =>
      c.json({ object: "list" as const, data: [cardOf(tools)] }),
    )
    .get("/v1/models/:id", describe("A model", { tag, answer: modelCard }), (c) => {
      checkModel(tools, c.req.param("id"));
      return c.json(cardOf(tools));
    });
}

/** When this server began. */
const created = Math.floor(Date.now() / 1000);

function cardOf({ model, name }: Tools) {
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

/** What is new of a choice, and whether that is a token. */
interface Piece {
  choice: Choice;
  token: boolean;
}

/** A completion's choices, in the making. */
interface Run {
  model: Model;
  head: Pick<Completion, "id" | "object" | "created" | "model">;
  choices: number;
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
  pieces: AsyncGenerator<Piece, void, undefined>;
}

async function start(tools: Tools, request: CompletionRequest, signal: AbortSignal): Promise<Run> {
  const { model, pool, name } = tools;
  const { n, echo, logprobs, seed = someSeed() } = request;
  const prompts = promptsOf(request.prompt).map((prompt) => idsOf(model, prompt));
  checkCounts(request, prompts.length, pool.stats());
  const changes = await changesOf(tools, request, signal);
  const options: GenerateOptions = {
    ...samplingOf(request),
    ...changes,
    maxTokens: request.max_tokens,
    logprobs,
    signal,
  };
  const echoes = echo ? await echoesOf(tools, prompts, options) : [];
  const runs = prompts.flatMap((ids, p) =>
    Array.from({ length: n }, (_, j) => {
      const events = pool.generate(ids, { ...options, seed: seed + j });
      return piecesOf(model, events, { index: p * n + j, echo: echoes[p], scored: logprobs !== undefined });
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
    pieces: runs.length === 1 ? runs[0] : merge(runs),
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
    new Refusal(400, "usage", message, help, { param });
  if (best_of !== n)
    throw refuse(`best_of is ${best_of}, n ${n}`, "leave best_of out: every choice is given", "best_of");
  // What there is never room for is not to be tried again.
  const most = Math.min(MOST.sequences, slots + queue);
  if (prompts * n > most) {
    throw refuse(`${prompts} prompts times ${n} choices`, `ask for ${most} choices at most`, "n");
  }
}

/** Bytes of a token that is a part of a character, as OpenAI writes them. */
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

/** Where tokens' texts begin, in characters (code points) as OpenAI counts them: several tokens may be in one. */
class Offsets {
  readonly #tokenizer: Model["tokenizer"];
  readonly #decoder = new TextDecoder();
  #at: number;

  constructor({ tokenizer }: Model, text = "") {
    this.#tokenizer = tokenizer;
    this.#at = [...text].length;
  }

  next(id: number): number {
    const here = this.#at;
    this.#at += [...this.#decoder.decode(this.#tokenizer.tokenBytes(id), { stream: true })].length;
    return here;
  }
}

/** OpenAI's shape: the token itself is among the likeliest, be it that or not. */
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

/** A prompt, as it is given back. */
interface Echo {
  text: string;
  logprobs: Logprobs | null;
}

/** One after the other: a request has one place of the gate, however many prompts it has. */
async function echoesOf(
  { model, gate }: Tools,
  prompts: readonly Int32Array[],
  { logprobs: top, interventions, patch, reference, signal }: GenerateOptions,
): Promise<Echo[]> {
  const plain = (ids: Int32Array): Echo => ({ text: model.tokenizer.decode(ids), logprobs: null });
  if (top === undefined) return prompts.map(plain);
  const options = { top, interventions, patch, reference, signal };
  const echoes: Echo[] = [];
  await gate.run(async () => {
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
  }, signal);
  return echoes;
}

async function* piecesOf(
  model: Model,
  events: AsyncGenerator<GenerateEvent, void, undefined>,
  { index, echo, scored }: { index: number; echo: Echo | undefined; scored: boolean },
): AsyncGenerator<Piece, void, undefined> {
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

function account({ usage }: Run, account: Account): void {
  usage.completion_tokens++;
  usage.total_tokens++;
  account.tokens++;
}

/** The events of a stream. */
async function* chunks(
  run: Run,
  { stream_options }: CompletionRequest,
  counted: Account,
): AsyncGenerator<Completion, void, undefined> {
  const { head, pieces, usage } = run;
  const isAsked = stream_options?.include_usage;
  for await (const { choice, token } of pieces) {
    if (token) account(run, counted);
    // Text lags behind tokens: where it does there may be nothing to say.
    if (choice.text === "" && !choice.logprobs && !choice.finish_reason) continue;
    yield { ...head, choices: [choice], ...(isAsked && { usage: null }) };
  }
  if (isAsked) yield { ...head, choices: [], usage };
}

async function whole(run: Run, counted: Account): Promise<Completion> {
  const { head, pieces, usage } = run;
  const found = Array.from({ length: run.choices }, (): Choice[] => []);
  for await (const { choice, token } of pieces) {
    if (token) account(run, counted);
    found[choice.index].push(choice);
  }
  const choices = found.map((parts, index): Choice => {
    const scored = parts.flatMap(({ logprobs }) => logprobs ?? []);
    return {
      index,
      text: parts.map(({ text }) => text).join(""),
      logprobs: scored.length > 0 ? joined(scored) : null,
      finish_reason: parts.at(-1)!.finish_reason,
    };
  });
  return { ...head, choices, usage };
}

const joined = (parts: readonly Logprobs[]): Logprobs => ({
  tokens: parts.flatMap(({ tokens }) => tokens),
  token_logprobs: parts.flatMap(({ token_logprobs }) => token_logprobs),
  top_logprobs: parts.some(({ top_logprobs }) => top_logprobs)
    ? parts.flatMap(({ tokens, top_logprobs }) => top_logprobs ?? tokens.map(() => null))
    : null,
  text_offset: parts.flatMap(({ text_offset }) => text_offset),
});
