import { afterAll, beforeAll, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { type KvNamespace, kvStore } from "../../server/patches/kv.ts";
import { patchSuite } from "./patches-suite.ts";
import { isolateBytes, startWorker } from "./worker-support.ts";

let worker: Awaited<ReturnType<typeof startWorker>>;
beforeAll(async () => {
  worker = await startWorker({ REFLOW_KEYS: "one,two" });
});
afterAll(() => worker.mf.dispose());

const ask = (path: string, body?: unknown, init: RequestInit = {}) =>
  fetch(new URL(path, worker.url), {
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
    ...init,
    headers: { "content-type": "application/json", authorization: "Bearer two" },
  });
const once = { model: "nano", prompt: "Once upon a time", max_tokens: 30, seed: 1 };
const kinder = [
  {
    op: "add",
    target: { expression: "great - terrible" },
    hook: "hook_resid_post",
    layers: [0, 3],
    strength: 0.15,
    unit: "residNorm",
  },
];
const fix = "terrible += 0.6 * (great - terrible)";

async function stats(): Promise<Record<string, number>> {
  const text = await (await ask("/metrics")).text();
  return Object.fromEntries(
    [...text.matchAll(/^reflow_(\w+) ([\d.]+)$/gm)].map(([, name, value]) => [name, Number(value)]),
  );
}

test("the bundle is small, and the model loads with the first request", async () => {
  const size = (name: string) => statSync(join(worker.folder, "code", name)).size;
  const bytes = size("worker.js") + size("kernels.wasm");
  const start = performance.now();
  const response = await ask("/v1/completions", once);
  const answer = (await response.json()) as { choices: { text: string }[]; usage: object };
  expect([response.status, answer.usage]).toEqual([
    200,
    { prompt_tokens: 4, completion_tokens: 30, total_tokens: 34 },
  ]);
  console.log(
    `worker: ${(bytes / 1024).toFixed(0)} KiB bundle, first response after ${(performance.now() - start).toFixed(0)} ms`,
  );
  expect(bytes).toBeLessThan(3 * 2 ** 20);
  expect(await (await ask("/v1/completions", once)).json()).toMatchObject({
    choices: [{ text: answer.choices[0].text }],
  });
});

test("the playground is served without a key", async () => {
  for (const [path, type] of [
    ["/", "text/html"],
    ["/main.js", "text/javascript"],
    ["/style.css", "text/css"],
  ]) {
    const response = await fetch(new URL(path, worker.url));
    expect([response.status, response.headers.get("content-type")]).toEqual([
      200,
      expect.stringContaining(type),
    ]);
    expect(response.headers.get("content-security-policy")).toContain("wasm-unsafe-eval");
  }
});

test("steering, inspection and token routes work", async () => {
  const asked: [path: string, body?: object][] = [
    ["/v1/steer", { prompt: "The food was", interventions: kinder, target: " great", max_tokens: 10 }],
    ["/v1/activations", { input: "The king", names: ["hook_signals"] }],
    ["/v1/lens", { input: "Once upon a" }],
    ["/v1/explain", { input: "Once upon a" }],
    ["/v1/algebra", { expression: "king + woman - man" }],
    ["/v1/tokens/%20king"],
    ["/v1/signals/9"],
    [
      "/v1/blast-radius",
      { patch: { expression: fix }, text: "Once upon a time there was a king. ".repeat(20) },
    ],
    ["/openapi.json"],
  ];
  for (const [path, body] of asked) {
    const response = await ask(path, body);
    const text = await response.text();
    expect([path, response.status, response.ok || text]).toEqual([path, 200, true]);
  }
});

test("routes require a key, and responses have security headers", async () => {
  expect((await fetch(new URL("/v1/models", worker.url))).status).toBe(401);
  const health = await fetch(new URL("/livez", worker.url));
  expect(health.status).toBe(200);
  expect(health.headers.get("content-security-policy")).toContain("wasm-unsafe-eval");
});

test("a stream sends tokens one by one, and other requests are served meanwhile", async () => {
  const long = { ...once, max_tokens: 200, stream: true };
  const streams = await Promise.all([
    ask("/v1/completions", long),
    ask("/v1/completions", { ...long, seed: 2 }),
  ]);
  const readers = streams.map(({ body }) => body!.getReader());
  await Promise.all(readers.map((reader) => reader.read()));
  expect((await stats()).active).toBe(2);
  const start = performance.now();
  expect((await ask("/livez")).status).toBe(200);
  expect(performance.now() - start).toBeLessThan(100);
  const counts = await Promise.all(
    readers.map(async (reader) => {
      let chunks = 0;
      while (!(await reader.read()).done) chunks++;
      return chunks;
    }),
  );
  for (const count of counts) expect(count).toBeGreaterThan(50);
});

test("a disconnect frees the slot, for a waiting request too", async () => {
  const leaving = new AbortController();
  const long = { ...once, max_tokens: 240, stop: "~" };
  const left = [
    ask("/v1/completions", { ...long, stream: true }, { signal: leaving.signal }).then((r) => r.text()),
    ask("/v1/completions", { ...long, n: 7 }, { signal: leaving.signal }),
  ].map((answer) => answer.catch((error: Error) => error.name));
  await Bun.sleep(60);
  const waiting = ask("/v1/completions", once);
  leaving.abort();
  expect(await Promise.all(left)).toEqual(["AbortError", "AbortError"]);
  expect((await waiting).status).toBe(200);
  const start = performance.now();
  while ((await stats()).active > 0) expect(performance.now() - start).toBeLessThan(300);
});

test("patches are saved in the KV namespace", async () => {
  const patch = { name: "kinder", patch: { expression: fix } };
  expect((await ask("/v1/patches", patch)).status).toBe(200);
  const namespace = (await worker.mf.getKVNamespace("PATCHES")) as unknown as KvNamespace;
  expect(JSON.parse((await namespace.get("kinder"))!).edits.length).toBeGreaterThan(0);
  expect(await (await ask("/v1/completions", { ...once, patch: "kinder" })).json()).toMatchObject({
    object: "text_completion",
  });
  expect((await ask("/v1/patches/kinder", undefined, { method: "DELETE" })).status).toBe(200);
  expect(await namespace.get("kinder")).toBeNull();
});

for (const [name, check] of Object.entries(patchSuite)) {
  test(`KV: ${name}`, async () => {
    await check(kvStore((await worker.mf.getKVNamespace("PATCHES")) as unknown as KvNamespace));
  });
}

test("memory fits into an isolate after all these tests and with every slot in use", async () => {
  const long = (i: number) => ({ ...once, prompt: `${i} kings`, max_tokens: 100 });
  const full = await Promise.all(Array.from({ length: 8 }, (_, i) => ask("/v1/completions", long(i))));
  for (const response of full) {
    expect(response.status).toBe(200);
    await response.text();
  }
  const { device_bytes_peak: wasm } = await stats();
  const mib = [await isolateBytes(worker.mf), wasm].map((bytes) => bytes / 2 ** 20);
  console.log(
    `worker: ${mib[0].toFixed(0)} MiB of V8 memory, at most ${mib[1].toFixed(0)} MiB of WASM memory`,
  );
  expect(mib[0] + mib[1]).toBeLessThan(128);
});
