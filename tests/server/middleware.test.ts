import { afterEach, expect, test } from "bun:test";
import { Hono } from "hono";
import { ReflowError } from "../../runtime/common/errors.ts";
import { Metrics } from "../../server/context/metrics.ts";
import type { AppEnv, Services } from "../../server/context/services.ts";
import { requireApiKey } from "../../server/middleware/api-keys.ts";
import { bodyCodec } from "../../server/middleware/body.ts";
import { cors } from "../../server/middleware/cors.ts";
import { ApiError, notFound, onError } from "../../server/middleware/errors.ts";
import { securityHeaders } from "../../server/middleware/headers.ts";
import { logLine, requestLog } from "../../server/middleware/log.ts";
import { decodeMessagePack, encodeMessagePack } from "../../server/middleware/message-pack.ts";
import { recordMetrics } from "../../server/middleware/metrics.ts";
import { rateLimit } from "../../server/middleware/rate-limit.ts";

const entries: Record<string, unknown>[] = [];
afterEach(() => void entries.splice(0));

/** Mounts the middleware in the same order as the app. */
function appOf(services: Partial<Services> = {}, metrics = new Metrics()) {
  const all = { keys: [], origins: [], log: (entry: object) => void entries.push({ ...entry }), ...services };
  return new Hono<AppEnv>()
    .onError(onError)
    .notFound(notFound(() => []))
    .use(requestLog(all), recordMetrics(metrics), securityHeaders(), cors(all))
    .get("/livez", (c) => c.text("ok"))
    .use(requireApiKey(all), rateLimit(all), bodyCodec(all))
    .post("/echo", (c) => c.json({ value: c.var.body ?? null }))
    .get("/numbers/:id", (c) =>
      c.json({ id: c.req.param("id"), values: Float32Array.of(0.5, 2), none: undefined }),
    )
    .get("/fail", () => {
      throw new TypeError("secret of /etc", { cause: new Error("deeper") });
    })
    .get("/refuse/:code", (c) => {
      throw new ReflowError(c.req.param("code") as "usage", "that is wrong", "do this");
    })
    .get("/stream", (c) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      c.var.record.ended = promise;
      c.var.record.tokens = 7;
      setTimeout(resolve, 30);
      return c.text("begun");
    });
}

const post = (data: BodyInit, type?: string, accept?: string) => ({
  method: "POST",
  body: data,
  headers: { ...(type && { "content-type": type }), ...(accept && { accept }) },
});
const JSON_TYPE = "application/json";
const PACKED = "application/msgpack";

interface Failure {
  error: { message: string; type: string; param: string | null; code: string; help: string; id: string };
}
async function failure(response: Response | Promise<Response>, status: number): Promise<Failure["error"]> {
  const answer = await response;
  expect(answer.status).toBe(status);
  const { error } = (await answer.json()) as Failure;
  expect(error.id).toBe(answer.headers.get("x-request-id")!);
  for (const text of [error.message, error.help, error.code]) expect(text.length).toBeGreaterThan(3);
  return error;
}

test("JSON and MessagePack bodies decode to the same value", async () => {
  const app = appOf();
  const value = { text: "ü", list: [1, 2.5, null, true], vector: [0.5, 2] };
  const json = await app.request("/echo", post(JSON.stringify(value), "Application/JSON; charset=utf-8"));
  expect(await json.json()).toEqual({ value });
  for (const type of [PACKED, "application/x-msgpack", "application/vnd.msgpack"]) {
    const packed = encodeMessagePack({ ...value, vector: Float32Array.of(0.5, 2) });
    const answer = await app.request("/echo", post(packed, type));
    expect(answer.headers.get("content-type")).toBe(JSON_TYPE);
    expect(await answer.json()).toEqual({ value });
  }
  expect(await (await app.request("/echo", { method: "POST" })).json()).toEqual({ value: null });
});

test("a response has the type that Accept prefers", async () => {
  const app = appOf();
  const type = async (accept?: string) =>
    (await app.request("/numbers/a", { headers: accept ? { accept } : {} })).headers.get("content-type");
  for (const accept of [
    undefined,
    "*/*",
    "text/html, */*;q=0.8",
    "text/plain",
    `${JSON_TYPE}, ${PACKED}`,
    `${PACKED};q=0.5, ${JSON_TYPE}`,
    `${PACKED};q=0`,
    `${PACKED};q=0, */*`,
    ";;q=,,,",
  ]) {
    expect(await type(accept)).toBe(JSON_TYPE);
  }
  for (const accept of [
    PACKED,
    `${PACKED}, */*`,
    `${JSON_TYPE};q=0.5, ${PACKED};q=0.9`,
    "APPLICATION/MSGPACK",
  ]) {
    expect((await type(accept))?.toLowerCase()).toBe(PACKED);
  }
  expect(await type("application/x-msgpack")).toBe("application/x-msgpack");

  const packed = await app.request("/numbers/a", { headers: { accept: PACKED } });
  expect(packed.headers.get("vary")).toContain("Accept");
  const value = decodeMessagePack(new Uint8Array(await packed.arrayBuffer()), 9) as { values: Float32Array };
  expect(value.values).toEqual(Float32Array.of(0.5, 2));
  expect(Object.keys(value)).toEqual(["id", "values"]);
  const json = await app.request("/numbers/a");
  expect(await json.json()).toEqual({ id: "a", values: [0.5, 2] });
  const refused = await app.request("/refuse/usage", { headers: { accept: PACKED } });
  expect(refused.status).toBe(400);
  const { error } = decodeMessagePack(new Uint8Array(await refused.arrayBuffer()), 9) as Failure;
  expect(error.message).toBe("that is wrong");
});

test("other bodies are refused with help on what to send", async () => {
  const app = appOf();
  const echo = (...args: Parameters<typeof post>) => app.request("/echo", post(...args));
  expect((await failure(echo("a=1", "application/x-www-form-urlencoded"), 415)).help).toContain(JSON_TYPE);
  expect((await failure(echo("{}", "text/plain"), 415)).message).toContain('"text/plain"');
  const packed = appOf().request("/echo", {
    method: "POST",
    headers: { "content-type": JSON_TYPE, "content-encoding": "gzip" },
    body: Bun.gzipSync("{}"),
  });
  expect((await failure(packed, 415)).message).toContain('"gzip"');
  expect((await failure(echo(new Uint8Array([1])), 415)).message).toContain("no Content-Type");
  for (const text of ["{", "", "nul", '{"a":1}}', "[1,]", "\u0000"].filter(Boolean)) {
    expect((await failure(echo(text, JSON_TYPE), 400)).code).toBe("malformed");
  }
  expect((await failure(echo(Uint8Array.of(0x22, 0xff, 0x22), JSON_TYPE), 400)).code).toBe("malformed");
  for (const text of ["1", '"a"', "null", "[]", "[{}]"]) {
    expect((await failure(echo(text, JSON_TYPE), 400)).message).toBe(
      `the request is ${text}: expected an object`,
    );
  }
  for (const [open, close] of [
    ["[", "]"],
    ['{"a":', "}"],
  ]) {
    const nested = (levels: number) => `{"a":${open.repeat(levels - 1)}1${close.repeat(levels - 1)}}`;
    expect((await echo(nested(32), JSON_TYPE)).status).toBe(200);
    expect((await failure(echo(nested(33), JSON_TYPE), 400)).message).toContain("nested");
    expect((await failure(echo(nested(100_000), JSON_TYPE), 400)).message.length).toBeLessThan(300);
  }
  expect((await failure(echo(Uint8Array.of(0xdd, 255, 255, 255, 255), PACKED), 400)).message).toContain(
    "ends",
  );
});

test("the body limit holds for every transfer encoding, and no more is read", async () => {
  const app = appOf({ bodyLimit: 1000 });
  const text = (length: number) => JSON.stringify({ a: "x".repeat(length - 8) });
  expect((await app.request("/echo", post(text(1000), JSON_TYPE))).status).toBe(200);
  expect((await failure(app.request("/echo", post(text(1001), JSON_TYPE)), 413)).message).toContain(
    "1000 bytes",
  );
  let sent = 0;
  let cancelled = false;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 400;
      controller.enqueue(new Uint8Array(400));
    },
    cancel() {
      cancelled = true;
    },
  });
  await failure(app.request("/echo", post(endless, JSON_TYPE)), 413);
  expect(cancelled).toBe(true);
  expect(sent).toBeLessThan(3000);
});

test("keys: only valid ones are accepted, in the form that OpenAI clients send", async () => {
  const app = appOf({ keys: ["first-key", "sécond"] });
  const ask = (authorization?: string) =>
    app.request("/numbers/a", { headers: authorization ? { authorization } : {} });
  expect((await ask("Bearer first-key")).status).toBe(200);
  expect((await ask("bearer  first-key ")).status).toBe(200);
  const missing = await ask();
  expect(missing.headers.get("www-authenticate")).toBe("Bearer");
  expect(await failure(missing, 401)).toMatchObject({
    type: "authentication_error",
    code: "invalid_api_key",
  });
  for (const wrong of [
    "first-key",
    "Basic first-key",
    "Bearer",
    "Bearer first-ke",
    "Bearer first-key x",
    "Bearer undefined",
  ]) {
    await failure(ask(wrong), 401);
  }
  expect((await app.request("/livez")).status).toBe(200);
  // Invalid keys are not logged, and valid ones only as a short prefix of their hash.
  const [ok, , no] = entries;
  expect(ok.key).toMatch(/^[0-9a-f]{8}$/);
  expect(no.key).toBeUndefined();
  expect(JSON.stringify(entries)).not.toContain("first");
});

test("the rate limit applies to each key, or to each address without keys", async () => {
  const byKey = appOf({ keys: ["a", "b"], rate: 3 });
  const ask = (key: string) => byKey.request("/numbers/x", { headers: { authorization: `Bearer ${key}` } });
  for (let i = 0; i < 3; i++) expect((await ask("a")).status).toBe(200);
  const refused = await ask("a");
  expect(refused.headers.get("retry-after")).toBe("20");
  expect((await failure(refused, 429)).type).toBe("rate_limit_error");
  expect((await ask("b")).status).toBe(200);
  expect((await byKey.request("/livez")).status).toBe(200);

  let address = "1";
  const byAddress = appOf({ rate: 6000, address: () => address });
  const some = async () => {
    const statuses = await Promise.all(Array.from({ length: 6001 }, () => byAddress.request("/numbers/x")));
    return statuses.filter(({ status }) => status === 429).length;
  };
  const many = await some();
  expect(many).toBeLessThanOrEqual(1);
  address = "2";
  expect((await byAddress.request("/numbers/x")).status).toBe(200);
});

test("a bucket refills", async () => {
  const app = appOf({ rate: 600 });
  const ask = async () => (await app.request("/numbers/x")).status;
  let asked = 0;
  while ((await ask()) === 200) asked++;
  expect(asked).toBeGreaterThanOrEqual(600);
  await Bun.sleep(120);
  expect(await ask()).toBe(200);
});

test("allowed origins get CORS headers, and preflight requests need no key", async () => {
  const app = appOf({ origins: ["https://a.example"], keys: ["k"] });
  const preflight = (origin: string) =>
    app.request("/echo", {
      method: "OPTIONS",
      headers: {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
      },
    });
  const allowed = await preflight("https://a.example");
  expect(allowed.status).toBe(204);
  expect(allowed.headers.get("access-control-allow-origin")).toBe("https://a.example");
  expect(allowed.headers.get("access-control-allow-headers")).toBe("authorization");
  for (const origin of ["https://b.example", "https://a.example.evil", "null"]) {
    expect((await preflight(origin)).headers.get("access-control-allow-origin")).toBeNull();
  }
  const any = await appOf({ origins: ["*"] }).request("/livez", { headers: { origin: "https://b.example" } });
  expect(any.headers.get("access-control-allow-origin")).toBe("*");
});

test("security headers allow the server's own scripts and WASM only", async () => {
  const { headers } = await appOf().request("/livez");
  expect(headers.get("content-security-policy")).toContain("script-src 'self' 'wasm-unsafe-eval'");
  expect(headers.get("cross-origin-embedder-policy")).toBe("require-corp");
  expect(headers.get("cross-origin-opener-policy")).toBe("same-origin");
  expect(headers.get("x-content-type-options")).toBe("nosniff");
});

test("client errors are explained, internal errors show an id and are detailed in the log", async () => {
  const app = appOf();
  const statuses = { usage: 400, data: 400, numerics: 422, busy: 429, memory: 503 };
  for (const [code, status] of Object.entries(statuses)) {
    const answer = await app.request(`/refuse/${code}`);
    if (status === 429) expect(answer.headers.get("retry-after")).toBe("1");
    expect(await failure(answer, status)).toMatchObject({ message: "that is wrong", help: "do this", code });
  }
  entries.splice(0);
  const error = await failure(app.request("/fail"), 500);
  expect(JSON.stringify(error)).not.toMatch(/secret|etc|deeper|TypeError|\.ts/);
  expect(entries).toHaveLength(1);
  expect(entries[0]).toMatchObject({ id: error.id, level: "error", status: 500 });
  expect(entries[0].error).toMatch(/TypeError: secret of \/etc[\s\S]*cause: Error: deeper/);
  for (const code of ["checkpoint", "device", "lost", "config"]) {
    expect((await failure(app.request(`/refuse/${code}`), 500)).message).toBe("internal server error");
  }
  expect(await failure(app.request("/nowhere"), 404)).toMatchObject({ type: "not_found_error" });
  expect(entries.at(-1)).toMatchObject({ status: 404, path: "/nowhere" });
});

test("an error can name the field", () => {
  const error = new ApiError(400, "usage", "n is 0", "use 1", { param: "n" });
  expect(error.options.param).toBe("n");
});

test("the log has one line per request, which no client input can break", async () => {
  const app = appOf();
  const path = "/numbers/%0a%7b%22level%22:1%7d%1b[31m\u2028%E2%80%A8";
  await app.request(path);
  await app.request(`/${"x".repeat(5000)}`);
  await app.request("/stream");
  const started = entries.length;
  await Bun.sleep(50);
  expect([started, entries.length]).toEqual([2, 3]);
  expect(entries[2]).toMatchObject({ method: "GET", path: "/stream", status: 200, tokens: 7 });
  expect(entries[2].ms).toBeGreaterThan(20);
  const lines = [...entries, { evil: '\n\r\t\u001b[2J\u009b\u2028"}' }].map(logLine);
  for (const line of lines) {
    expect(line).toMatch(/^[\x20-\x7e]{2,900}$/);
    expect(JSON.parse(line)).toBeObject();
  }
  expect(JSON.parse(lines[3])).toEqual({ evil: '\n\r\t\u001b[2J\u009b\u2028"}' });
});

test("metrics: requests, latency and tokens by route, in the Prometheus format", async () => {
  const metrics = new Metrics();
  const app = appOf({}, metrics);
  for (const path of ["/numbers/1", "/numbers/2", "/no/where", "/nor/here", "/fail"]) await app.request(path);
  await app.request("/livez", { method: "PUT" });
  await app.request("/stream");
  await Bun.sleep(50);
  const stats = { slots: 4, active: 1, queued: 2, prefixTokensReused: 9, tokens: 0 };
  const text = metrics.text({
    pool: { stats: () => stats },
    model: { memory: { allocated: 5, peak: 6 } },
  } as Services);
  expect(text).toContain('reflow_requests_total{method="GET",route="/numbers/:id",status="200"} 2\n');
  expect(text).toContain('reflow_requests_total{method="GET",route="unknown",status="404"} 2\n');
  expect(text).toContain('reflow_requests_total{method="other",route="unknown",status="404"} 1\n');
  expect(text).toContain('reflow_requests_total{method="GET",route="/fail",status="500"} 1\n');
  expect(text).toContain('reflow_request_seconds_bucket{route="/numbers/:id",le="+Inf"} 2\n');
  expect(text).toContain('reflow_request_seconds_bucket{route="/stream",le="0.01"} 0\n');
  expect(text).toContain("\nreflow_tokens_total 7\n");
  expect(text).toContain("\nreflow_active 1\n");
  expect(text).toContain("\nreflow_device_bytes_peak 6\n");
  const line = /^(# (HELP|TYPE) reflow_\w+ .+|reflow_\w+(\{(\w+="[^"\n]*",?)+\})? [0-9.e+-]+)$/;
  for (const each of text.trimEnd().split("\n")) expect(each).toMatch(line);
});
