import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { logLine } from "../../server/middleware/log.ts";
import { encodeMessagePack } from "../../server/middleware/message-pack.ts";
import { type Failure, listen } from "./invalid-requests-support.ts";

let server: Awaited<ReturnType<typeof listen>>;
let expected: string;
beforeAll(async () => {
  server = await listen();
  expected = await server.complete();
});
afterAll(() => server.stop());
/** After every test, a valid request must give the same text as before. */
afterEach(async () => expect(await server.complete()).toBe(expected));

async function refused(response: Response, message: RegExp, ...statuses: number[]): Promise<Failure> {
  const text = await response.text();
  const { error } = JSON.parse(text) as { error: Failure };
  expect([text, response.status]).toEqual([text, expect.any(Number)]);
  if (statuses.length > 0) expect(statuses).toContain(response.status);
  else expect([text, response.status >= 400 && response.status < 500]).toEqual([text, true]);
  expect(error.message).toMatch(message);
  expect(error.message.length).toBeLessThan(500);
  expect(error.help.length).toBeGreaterThan(5);
  expect(error.id).toMatch(/^[0-9a-f-]{36}$/);
  return error;
}
const complete = (body: object) =>
  server.json("/v1/completions", { prompt: "the king", max_tokens: 4, ...body });
const packed = (path: string, body: unknown) =>
  server.json(path, body instanceof Uint8Array ? body : encodeMessagePack(body), {
    headers: { "content-type": "application/msgpack" },
  });

const nested = (open: string, close: string, levels: number) =>
  `${open.repeat(levels)}1${close.repeat(levels)}`;

test("malformed and deeply nested JSON", async () => {
  for (const body of [
    '{"prompt":',
    "{'a':1}",
    "[",
    "nul",
    "\ufeff{",
    '{"a":1}{',
    "\0",
    "undefined",
    '"\ud800',
  ])
    await refused(await server.json("/v1/completions", body), /is not valid application\/json/, 400);
  for (const body of ["1", '"text"', "null", "[]", "[{}]", "true"])
    await refused(await server.json("/v1/completions", body), /the request is .*: expected an object/, 400);
  for (const levels of [33, 1000, 100_000, 500_000]) {
    await refused(await server.json("/v1/completions", nested("[", "]", levels)), /nested|not valid/, 400);
    if (levels < 1e5)
      await refused(await server.json("/v1/completions", nested('{"prompt":', "}", levels)), /nested/, 400);
  }
  const proto = '{"prompt":"a","__proto__":{"max_tokens":3},"constructor":{"prototype":{"x":1}}}';
  await refused(await server.json("/v1/completions", proto), /is not a field/, 400);
  expect(({} as { x?: number }).x).toBeUndefined();
});

test("malformed and deeply nested MessagePack, and excessive extensions and lengths", async () => {
  const bombs = [
    [0xc1],
    [0xdd, 255, 255, 255, 255],
    [0xdf, 255, 255, 255, 255],
    [0xdb, 255, 255, 255, 255],
    [0xc9, 255, 255, 255, 255, 0x74, 7],
    [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61],
    [0xd6, 0x69, 0, 0, 0, 1, 0x91, 0xd6, 0x70, 0, 0, 0, 1],
    [0xc7, 0, 0x73, 0xdd, 255, 255, 255, 255],
    [0x81, 0x91, 0x01, 0x01],
    [0x81, 0xa1, 0x61],
  ];
  for (const bomb of bombs)
    await refused(
      await packed("/v1/completions", Uint8Array.from(bomb)),
      /is not valid application\/msgpack/,
      400,
    );
  await refused(
    await packed("/v1/completions", new Uint8Array(1_000_000).fill(0x91)),
    /nested too deeply/,
    400,
  );
  // A list of a million sets, each of which would allocate an object.
  await refused(await packed("/v1/completions", new Uint8Array(1_000_000).fill(0xd4)), /extension/, 400);
  await refused(await packed("/v1/completions", { prompt: new Float32Array(10).fill(0.5) }), /prompt/, 400);
});

test("a body that does not arrive in time", async () => {
  const quick = await listen({ bodyTimeoutMs: 100 });
  const head =
    "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n";
  const start = performance.now();
  const answers = await Promise.all(Array.from({ length: 50 }, () => quick.raw(`${head}{`)));
  for (const answer of answers) expect(answer).toMatch(/^HTTP\/1.1 408 [\s\S]*did not arrive within 0.1 s/);
  expect(performance.now() - start).toBeLessThan(2000);
  expect(await quick.complete()).toBe(expected);
  await quick.stop();
});

test("a body that is too large, whatever length it declares", async () => {
  const large = JSON.stringify({ prompt: "a".repeat(2 ** 20) });
  await refused(await server.json("/v1/completions", large), /larger than 1048576 bytes/, 413);
  const head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
  const chunk = `10000\r\n${" ".repeat(65536)}\r\n`;
  expect(await server.raw(`${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}`)).toMatch(
    /^HTTP\/1.1 413 /,
  );
  // A valid body in chunks of one byte.
  const body = '{"prompt":"the king","max_tokens":2}';
  const pieces = [...body].map((byte) => `1\r\n${byte}\r\n`).join("");
  expect(await server.raw(`${head}Transfer-Encoding: chunked\r\n\r\n${pieces}0\r\n\r\n`)).toMatch(
    /^HTTP\/1.1 200 /,
  );
  for (const framing of [
    "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "Content-Length: -5\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
  ])
    expect(await server.raw(head + framing)).toMatch(/^(HTTP\/1.1 400 |$)/);
  await refused(
    await server.json("/v1/completions", "a=1", { headers: { "content-type": "text/plain" } }),
    /text\/plain/,
    415,
  );
});

test("numbers out of range, and values that are not numbers", async () => {
  const wrong: [field: string, values: unknown[]][] = [
    ["n", [1e6, 0, -1, 1.5, "2", 2 ** 60, true]],
    ["best_of", [1e6, 0]],
    ["logprobs", [1e6, 21, -1, 0.5]],
    ["max_tokens", [0, -1, 1.5, "many", -1e300]],
    ["temperature", [-1, 1e38, "hot"]],
    ["top_p", [-0.1, 1.1]],
    ["top_k", [-1, 0.5]],
    ["min_p", [2]],
    ["repetition_penalty", [0, -1, 1e38]],
    ["seed", [1e300, 0.5, "x"]],
    ["stop", [[""], "", Array(1000).fill("a"), [1], {}]],
    ["prompt", [[-1], [300], [1e9], [0.5], [], [[]], [["a"]], {}, 7, Array(1000).fill("a"), [2 ** 53]]],
    ["interventions", [1, [1], [null], {}, Array(1000).fill({})]],
    ["patch", ["../x", "a\0", "%2e%2e", "nowhere", {}, 1, { expression: "" }]],
    ["stream", ["yes"]],
    ["nonsense", [1]],
  ];
  for (const [field, values] of wrong) {
    for (const value of values) await refused(await complete({ [field]: value }), /./);
  }
  await refused(await complete({ prompt: Array(32).fill("a"), n: 16 }), /32 prompts with 16 choices/, 400);
  // MessagePack can encode NaN, JSON cannot; in JSON, 1e999 overflows to infinity.
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -0.5])
    for (const field of ["max_tokens", "n", "temperature", "top_p", "repetition_penalty"])
      await refused(await packed("/v1/completions", { prompt: "a", [field]: value }), new RegExp(field), 400);
  await refused(
    await server.json("/v1/completions", '{"prompt":"a","temperature":1e999}'),
    /temperature/,
    400,
  );
});

test("strengths that are not numbers, or too large", async () => {
  const add = (strength: number, unit?: string) => ({
    prompt: "the king",
    max_tokens: 4,
    interventions: [
      { op: "add", target: { token: " the" }, hook: "hook_resid_post", layers: [0, 1], strength, unit },
    ],
  });
  for (const path of ["/v1/completions", "/v1/steer"]) {
    for (const strength of [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      1e38,
      -1e38,
      1e300,
    ]) {
      await refused(await packed(path, add(strength)), /strength/, 400, 422);
      await refused(await packed(path, add(strength, "residNorm")), /strength/, 400, 422);
      // JSON encodes NaN and infinities as null.
      await refused(await server.json(path, add(strength)), /strength/, 400, 422);
    }
  }
  const vector = { vector: new Float32Array(32).fill(Number.NaN) };
  const broken = [{ op: "add", target: vector, hook: "blocks.0.hook_resid_pre", strength: 1 }];
  await refused(await packed("/v1/completions", { prompt: "a", interventions: broken }), /vector/, 400);
});

test("a megabyte of one character", async () => {
  for (const character of ["a", " ", "\n", "\0", "ü", "🦊"]) {
    const prompt = character.repeat(
      Math.floor(2 ** 20 / new TextEncoder().encode(JSON.stringify(character)).length),
    );
    const start = performance.now();
    await refused(await server.json("/v1/completions", { prompt }), /context/, 400);
    await refused(await server.json("/v1/lens", { input: prompt }), /context/, 400);
    const tokens = await server.json("/tokenize", { content: prompt });
    expect([200, 400]).toContain(tokens.status);
    await tokens.arrayBuffer();
    expect(performance.now() - start).toBeLessThan(3000);
  }
});

test("names with ../, NUL and %2e in bodies and paths", async () => {
  const names = [
    "../../etc/passwd",
    "..",
    "tiny\0",
    "\0",
    "%2e%2e%2f",
    "tiny/../tiny",
    "TINY",
    "x".repeat(1e5),
    "a\nb",
  ];
  for (const model of names) {
    await refused(await complete({ model }), /there is no model/, 404);
    await refused(
      await server.json("/v1/steer", { model, prompt: "a", interventions: [] }),
      /there is no model|steer/,
    );
    if (model === "TINY") continue;
    const name = { name: model, patch: { expression: '"t" += "h"' } };
    await refused(await server.json("/v1/patches", name), /name/, 400);
  }
  const segments = [
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "tiny%00",
    "%00",
    "%252e%252e",
    "%ff",
    "%",
    "%2e",
    "a%0ab",
  ];
  for (const segment of segments) {
    for (const path of [`/v1/models/${segment}`, `/v1/patches/${segment}`]) {
      // Sent raw, because fetch would normalise some of the paths.
      const answer = await server.raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      expect([path, answer]).toEqual([path, expect.stringMatching(/^HTTP\/1.1 40[04] [\s\S]*"message"/)]);
    }
  }
  for (const path of [
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/model/..%2f..%2fpackage.json",
  ])
    expect(await server.raw(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)).toMatch(/^HTTP\/1.1 40[04] /);
});

test("slow readers do not delay other clients", async () => {
  const body = JSON.stringify({ prompt: "the king", max_tokens: 200, stream: true, logprobs: 5 });
  const request = `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const slow = Array.from({ length: 8 }, () => {
    const socket = connect(Number(server.url.port), "127.0.0.1", () => socket.write(request));
    socket.pause();
    return socket;
  });
  await Bun.sleep(100);
  const start = performance.now();
  expect(await server.complete()).toBe(expected);
  expect(performance.now() - start).toBeLessThan(3000);
  // Their events are buffered, so their slots are free.
  await server.idle();
  for (const socket of slow) socket.destroy();
});

test("a disconnect during the prompt or the response frees the slot", async () => {
  const long = Array.from({ length: 200 }, (_, i) => i % 250);
  for (const stream of [false, true]) {
    for (let ms = 0; ms < 6; ms++) {
      const leaving = new AbortController();
      const body = { prompt: long, max_tokens: 50, stream, n: 4 };
      const answer = server.json("/v1/completions", body, { signal: leaving.signal });
      setTimeout(() => leaving.abort(), ms);
      await answer.then((response) => response.text()).catch(() => {});
      expect(await server.idle()).toBeLessThan(500);
    }
  }
  const reading = await server.json("/v1/completions", { prompt: "the", max_tokens: 200, stream: true });
  const reader = reading.body!.getReader();
  await reader.read();
  await reader.cancel();
  expect(await server.idle()).toBeLessThan(500);
});

test("requests beyond the queue get 429 with Retry-After", async () => {
  const many = await Promise.all(Array.from({ length: 40 }, () => complete({ max_tokens: 100 })));
  const statuses = many.map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([200, 429]));
  const rejected = many.filter(({ status }) => status === 429);
  for (const response of rejected) {
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    await refused(response, /./, 429);
  }
  await Promise.all(many.filter(({ status }) => status === 200).map((response) => response.text()));
  await server.idle();
});

test("a handler's exception shows an id to the client and is detailed in the log", async () => {
  const fails = () => Promise.reject(new TypeError("the secret at /etc\nsecond line"));
  const broken = await listen({ patches: { list: fails, get: fails, put: fails, delete: fails } });
  try {
    const before = await broken.complete();
    for (const [method, path] of [
      ["GET", "/v1/patches"],
      ["GET", "/v1/patches/a"],
      ["DELETE", "/v1/patches/a"],
    ]) {
      const error = await refused(
        await fetch(new URL(path, broken.url), { method }),
        /^internal server error$/,
        500,
      );
      expect(JSON.stringify(error)).not.toMatch(/secret|etc|TypeError/);
      const entry = broken.entries.at(-1)!;
      expect(entry).toMatchObject({ id: error.id, level: "error", status: 500 });
      expect(entry.error).toContain("TypeError: the secret");
      expect(logLine(entry)).not.toContain("\n");
    }
    expect(await broken.complete()).toBe(before);
  } finally {
    await broken.stop();
  }
});

test("no client input can start a log line", async () => {
  server.entries.splice(0);
  const evil = '%0a{"level":"error"}%0d%1b[31m%e2%80%a8';
  await (
    await fetch(new URL(`/v1/patches/${evil}`, server.url), {
      headers: { "user-agent": "a\tb", "x-request-id": "mine" },
    })
  ).text();
  await (await complete({ model: '\n{"level":"error"}' })).text();
  await server.raw(`GET /\u001b[31m"x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \u0009secret\r\n\r\n`);
  expect(server.entries.length).toBeGreaterThanOrEqual(2);
  for (const entry of server.entries) {
    const line = logLine(entry);
    expect(line).toMatch(/^\{[\x20-\x7e]*\}$/);
    expect(line).not.toMatch(/mine|secret/);
    expect(JSON.parse(line).level).toBe("info");
  }
});

test("every route except health checks and the playground requires a key", async () => {
  const guarded = await listen({ keys: ["right"] });
  try {
    const { url, app, entries } = guarded;
    const routes = app.routes.filter(({ method }) => method !== "ALL");
    const endpoints = new Set(
      routes.filter(({ path }) => !path.includes("*")).map(({ method, path }) => `${method} ${path}`),
    );
    expect(endpoints.size).toBeGreaterThan(15);
    const open: string[] = [];
    for (const endpoint of endpoints) {
      const [method, pattern] = endpoint.split(" ");
      const path = pattern.replace(/:\w+(\{[^}]*\})?/g, "x");
      const init =
        method === "POST"
          ? { method, body: "{", headers: { "content-type": "application/json" } }
          : { method };
      for (const authorization of [undefined, "Bearer wrong", "Basic right", "Bearer"]) {
        const response = await fetch(new URL(path, url), {
          ...init,
          headers: { ...init.headers, ...(authorization && { authorization }) },
        });
        if (response.status !== 401) open.push(endpoint);
        else await refused(response, /key/, 401);
      }
    }
    expect([...new Set(open)].sort()).toEqual(["GET /livez", "GET /readyz"]);
    expect(entries.every(({ key }) => key === undefined)).toBe(true);
    const keyed = { authorization: "Bearer right" };
    expect(await guarded.complete(keyed)).toBe(expected);
    expect((await fetch(new URL("/nowhere", url))).status).toBe(401);
    expect((await fetch(new URL("/nowhere", url), { headers: keyed })).status).toBe(404);
  } finally {
    await guarded.stop();
  }
});
