/** The official OpenAI client against a listening server. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import OpenAI from "openai";
import type { GenerationPool } from "../../runtime/generation/pool.ts";
import type { Model } from "../../runtime/model/model.ts";
import { createApp } from "../../server/app.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

let model: Model;
let pool: GenerationPool;
let server: ReturnType<typeof Bun.serve>;
let client: OpenAI;

beforeAll(async () => {
  model = await tinyModel({ context: 512 });
  pool = model.pool({ slots: 4 });
  const app = createApp(servicesOf(model, { pool, keys: ["secret"] }));
  server = Bun.serve({ port: 0, fetch: (request) => app.fetch(request) });
  client = new OpenAI({ baseURL: `${server.url}v1`, apiKey: "secret", maxRetries: 0 });
});
afterAll(async () => {
  await server.stop(true);
  model.dispose();
});

const request = { model: "tiny", prompt: "the king", max_tokens: 12, seed: 5 } as const;

test("completions equal the text that the model generates directly", async () => {
  let text = "";
  for await (const event of model.generate(request.prompt, { maxTokens: 12, seed: 5 })) text += event.text;
  const { choices, usage, object } = await client.completions.create({ ...request, logprobs: 2, echo: true });
  expect(object).toBe("text_completion");
  expect(choices[0].text).toBe(request.prompt + text);
  expect(choices[0].finish_reason).toBe("length");
  expect(choices[0].logprobs!.tokens).toHaveLength(usage!.total_tokens);
});

test("streams completions", async () => {
  const complete = await client.completions.create(request);
  const stream = await client.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  let usage: OpenAI.CompletionUsage | undefined;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.text ?? "";
    usage = chunk.usage ?? usage;
  }
  expect(text).toBe(complete.choices[0].text);
  expect(usage).toEqual(complete.usage!);
});

test("lists models", async () => {
  const names: string[] = [];
  for await (const { id } of client.models.list()) names.push(id);
  expect(names).toEqual(["tiny"]);
  expect((await client.models.retrieve("tiny")).object).toBe("model");
});

test("maps errors to the client's error classes", async () => {
  const bad = await errorOf(client.completions.create({ ...request, max_tokens: 0 }));
  expect(bad).toBeInstanceOf(OpenAI.BadRequestError);
  expect(bad).toMatchObject({ param: "max_tokens", code: "usage" });
  expect(await errorOf(client.models.retrieve("gpt-4"))).toBeInstanceOf(OpenAI.NotFoundError);
  const unauthorized = new OpenAI({ baseURL: client.baseURL, apiKey: "guess", maxRetries: 0 });
  expect(await errorOf(unauthorized.models.list())).toBeInstanceOf(OpenAI.AuthenticationError);
});

test("an aborted stream frees its slot, and so does an aborted request", async () => {
  const long = { ...request, max_tokens: 500 };
  const stream = await client.completions.create({ ...long, stream: true });
  for await (const _ of stream) break;
  await until(() => pool.stats().active === 0);
  const left = new AbortController();
  const pending = errorOf(client.completions.create(long, { signal: left.signal }));
  await until(() => pool.stats().active === 1);
  left.abort();
  expect(await pending).toBeInstanceOf(OpenAI.APIUserAbortError);
  await until(() => pool.stats().active === 0);
  expect((await client.completions.create(request)).choices).toHaveLength(1);
});

/** The client's promises are thenables and not native promises. */
const errorOf = (promise: PromiseLike<unknown>): PromiseLike<unknown> =>
  promise.then(
    () => undefined,
    (error) => error,
  );

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await Bun.sleep(1);
  }
  throw new Error("the condition was not met in time");
}
