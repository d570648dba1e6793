import { afterAll, beforeAll, expect, test } from "bun:test";
import { hc } from "hono/client";
import type { Model } from "../../runtime/model/model.ts";
import { type AppType, createApp } from "../../server/app.ts";
import type { Services } from "../../server/context/services.ts";
import { Api, post } from "./api.ts";
import { servicesOf, tinyModel } from "./services-support.ts";

let model: Model;
let services: Services;
let app: AppType;
const serve = (more: Partial<Services> = {}) => createApp({ ...services, ...more });
const apiOf = (app: AppType) => new Api(async (request) => app.fetch(request));

beforeAll(async () => {
  model = await tinyModel();
  services = servicesOf(model);
  app = serve();
});
afterAll(() => model.dispose());

test("a completion equals the text that the model generates directly", async () => {
  const prompt = "the king";
  let text = "";
  const logprobs: number[] = [];
  const options = { maxTokens: 12, seed: 5, temperature: 0.8, topK: 20, topP: 0.9, logprobs: 0 };
  for await (const event of model.generate(prompt, options)) {
    text += event.text;
    if (event.type === "token") logprobs.push(event.logprob!);
  }
  const request = { prompt, max_tokens: 12, seed: 5, temperature: 0.8, top_k: 20, top_p: 0.9, logprobs: 0 };
  const { body } = await apiOf(app).post("/v1/completions", request);
  expect(body.choices[0].text).toBe(text);
  body.choices[0].logprobs.token_logprobs.forEach((logprob: number, i: number) => {
    expect(logprob).toBeCloseTo(logprobs[i], 5);
  });
});

test("the typed client knows routes, requests and responses", async () => {
  const client = hc<AppType>("http://reflow.test", {
    fetch: async (input: RequestInfo | URL, init?: RequestInit) => app.fetch(new Request(input, init)),
  });
  const response = await client.v1.steer.$post({
    json: {
      prompt: "the king",
      max_tokens: 2,
      interventions: [{ op: "add", target: { token: " and" }, hook: "hook_embed", strength: 1 }],
    },
  });
  const steered = await response.json();
  const written: string = steered.steered.text + steered.default.text;
  expect(written.length).toBeGreaterThan(0);
  const neighbours = await client.v1.neighbours.$get({ query: { token: " of", k: "2" } });
  const near: { cosine: number }[] = (await neighbours.json()).neighbours;
  expect(near).toHaveLength(2);
});

test("with keys, every route except health checks and the playground requires one", async () => {
  const api = apiOf(
    serve({ keys: ["secret"], assets: (path) => (path === "/" ? new Response("page") : undefined) }),
  );
  const { body: document } = await api.get("/openapi.json", { headers: { authorization: "Bearer secret" } });
  const open = ["/livez", "/readyz"];
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const method of Object.keys(methods as object)) {
      const { status } = await api.get(path.replace(/\{\w+\}/, "1"), { method: method.toUpperCase() });
      expect([path, method, status]).toEqual([path, method, open.includes(path) ? 200 : 401]);
    }
  }
  expect((await api.get("/")).body).toBe("page");
});

test("disconnecting from a stream frees its slot within one token", async () => {
  const left = new AbortController();
  const request = { prompt: "the", max_tokens: 40, temperature: 1, seed: 1, stream: true, n: 4 };
  const response = await app.request("/v1/completions", { ...post(request), signal: left.signal });
  const reader = response.body!.getReader();
  await reader.read();
  expect(services.pool.stats().active).toBe(4);
  await reader.cancel();
  await until(() => services.pool.stats().active === 0);
  const { tokens } = services.pool.stats();
  await Bun.sleep(20);
  expect(services.pool.stats().tokens).toBe(tokens);
});

test("disconnecting before the response is complete frees the slot too", async () => {
  const left = new AbortController();
  const request = { prompt: Array(16).fill("the"), max_tokens: 40, n: 4 };
  const pending = app.request(
    new Request("http://reflow.test/v1/completions", { ...post(request), signal: left.signal }),
  );
  await until(() => services.pool.stats().active > 0);
  left.abort();
  expect((await pending).status).toBe(499);
  await until(() => services.pool.stats().active === 0);
});

test("the queue is bounded, and a refusal has Retry-After", async () => {
  const pool = model.pool({ slots: 1, queue: 1 });
  const small = serve({ pool });
  const request = () => small.request("/v1/completions", post({ prompt: "the", max_tokens: 40 }));
  const answers = await Promise.all(Array.from({ length: 6 }, request));
  const statuses = answers.map(({ status }) => status);
  expect(statuses).toContain(200);
  expect(statuses).toContain(429);
  const refused = answers.find(({ status }) => status === 429)!;
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  await pool.drain();
});

test("more choices than the pool can ever run get 400", async () => {
  const small = apiOf(serve({ pool: model.pool({ slots: 1, queue: 1 }) }));
  const { status, body } = await small.post("/v1/completions", { prompt: ["a", "b"], n: 2 });
  expect([status, body.error.param]).toEqual([400, "n"]);
  expect(body.error.help).toBe("use fewer prompts or choices");
});

test("a stream that is not read is closed and frees its slots", async () => {
  const request = { prompt: "the", max_tokens: 40, stream: true, n: 2 };
  const response = await serve({ stallTimeoutMs: 30 }).request("/v1/completions", post(request));
  const reader = response.body!.getReader();
  await reader.read();
  await Bun.sleep(150);
  await expect(reader.read()).rejects.toThrow("the client stopped reading");
  expect(services.pool.stats().active).toBe(0);
});

test("a probe's stream is refused with 429 while the queue is full", async () => {
  const app = serve();
  const left = new AbortController();
  const ask = (path: string, body: object, signal?: AbortSignal) =>
    app.request(new Request(`http://reflow.test${path}`, { ...post(body), signal }));
  // While the pool is held, probes wait in the analysis queue.
  let leave = () => {};
  const held = services.pool.exclusive(() => new Promise<void>((resolve) => (leave = resolve)));
  const text = "the sea ".repeat(4000);
  const waiting = Array.from({ length: 65 }, () =>
    ask("/v1/probes/atlas", { text, stream: false }, left.signal),
  );
  await Bun.sleep(50);
  const refused = await ask("/v1/probes/atlas", { text });
  expect([refused.status, Number(refused.headers.get("retry-after"))]).toEqual([429, 1]);
  left.abort();
  for (const { status } of await Promise.all(waiting)) expect(status).toBe(499);
  leave();
  await held;
  expect((await ask("/v1/completions", { prompt: "the", max_tokens: 1 })).status).toBe(200);
});

test("a server that is shutting down is alive but not ready", async () => {
  const api = apiOf(serve({ ready: () => false }));
  expect((await api.get("/livez")).status).toBe(200);
  expect((await api.get("/readyz")).status).toBe(503);
  const { status, headers } = await api.post("/v1/completions", { prompt: "the" });
  expect([status, headers.get("retry-after")]).toEqual([503, "5"]);
});

test("an internal error shows an id and no details", async () => {
  const entries: Readonly<Record<string, unknown>>[] = [];
  const lexicon = serve({
    log: (entry) => void entries.push(entry),
    patches: {
      ...services.patches,
      async list() {
        throw new Error("secret/path");
      },
    },
  });
  const { status, body } = await apiOf(lexicon).get("/v1/patches");
  expect(status).toBe(500);
  expect(JSON.stringify(body)).not.toContain("secret");
  const entry = entries.find(({ id }) => id === body.error.id);
  expect(JSON.stringify(entry)).toContain("secret/path");
});

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await Bun.sleep(2);
  }
  throw new Error("the condition was not met in time");
}

test("scoring many prompts takes one slot of the queue, not one per prompt", async () => {
  const api = apiOf(serve());
  const request = { prompt: Array(32).fill("the king"), echo: true, logprobs: 1, max_tokens: 1, seed: 1 };
  const answers = await Promise.all([1, 2, 3].map(() => api.post("/v1/completions", request)));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
});
