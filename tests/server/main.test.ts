/** Starting and stopping `bun run server` and `deno task server`. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Child } from "../support/child.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { post } from "./api.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "server/main.ts");
const { command } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")).tasks.server as {
  command: string;
};
/** The command that runs the server. For Deno, the flags are taken from the task. */
const HOST = [process.execPath, ...("Deno" in globalThis ? command.split(" ").slice(1, -1) : [])];

const children: Child[] = [];
const killAll = () => {
  for (const { child } of children.splice(0)) child.kill("SIGKILL");
};
afterEach(killAll);
after(killAll);

function start(args: string[], env: Record<string, string> = {}, cwd = temporaryFolder()): Child {
  const child = new Child([...HOST, MAIN, ...args], cwd, env);
  children.push(child);
  return child;
}

/** Starts a server with the tiny model, and returns its address. */
async function serve(args: string[] = [], env: Record<string, string> = {}, cwd?: string) {
  const folder = temporaryFolder();
  await writeTinyCheckpoint(`${folder}/tiny`, { context: 512 });
  writeFileSync(`${folder}/tiny/held-out.txt`, "the sea and the king ".repeat(20));
  const flags = ["--port", "0", "--threads", "1", "--device", "wasm", ...args];
  const server = start([...flags, `${folder}/tiny`], env, cwd);
  await server.waitForOutput(/http:\S+\//);
  return { server, url: /http:\S+\//.exec(server.stderr)![0] };
}

/** Starts a request whose body is completed by the returned function, which resolves to the response's status. */
async function hold(url: string): Promise<() => Promise<number>> {
  const headers = { "content-type": "application/json", "transfer-encoding": "chunked" };
  const request = httpRequest(`${url}v1/completions`, { method: "POST", headers });
  const answered = new Promise<number>((resolve, reject) => {
    request.on("response", (response) => resolve(response.resume().statusCode!));
    request.on("error", reject);
  });
  // The server may exit before it responds.
  answered.catch(() => {});
  await new Promise((resolve) => request.write('{"prompt":', resolve));
  // Once later requests are answered, the server has received this one.
  for (let i = 0; i < 3; i++) await (await fetch(`${url}livez`)).text();
  return () => {
    request.end('"the","max_tokens":2}');
    return answered;
  };
}

test("on SIGTERM it finishes running requests and exits with status 0", async () => {
  const { server, url } = await serve();
  assert.match(server.stderr, /^tiny on wasm/);
  const request = { prompt: "the", max_tokens: 400, stream: true, n: 4 };
  const response = await fetch(`${url}v1/completions`, post(request));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value!;
  const finish = await hold(url);
  server.signal("SIGTERM");
  await server.waitForOutput(/shutting down/);
  // `bun run` delivers the signal twice; a repetition at once counts as the same signal.
  await sleep(20);
  server.signal("SIGTERM");
  await sleep(20);
  assert.equal(await finish(), 200);
  for (let read = await reader.read(); !read.done; read = await reader.read()) text += read.value;
  assert.ok(text.endsWith("data: [DONE]\n\n"), text.slice(-100));
  assert.equal(text.match(/"finish_reason":"(length|stop)"/g)?.length, 4);
  await server.waitForExit(0);
  const lines = server.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(lines.find(({ path }) => path === "/v1/completions")?.status, 200);
  await assert.rejects(fetch(`${url}livez`));
});

test("on a second signal it exits at once", async () => {
  const { server, url } = await serve();
  await hold(url);
  server.signal("SIGINT");
  await server.waitForOutput(/shutting down/);
  await sleep(300);
  server.signal("SIGINT");
  await server.waitForExit(1);
});

test("it serves the page and the files that the page loads", async () => {
  const { url } = await serve(["--patches", ":memory:"], {}, ROOT);
  const load = async (path: string): Promise<string> => {
    const response = await fetch(url + path);
    assert.equal(response.status, 200, path);
    assert.ok(response.headers.get("etag"), path);
    return response.text();
  };
  const page = await load("");
  const head = await fetch(url, { method: "HEAD" });
  assert.equal(head.headers.get("content-length"), String(page.length));
  assert.match(page, /<script type="module" src="main.js">/);
  for (const name of ["style.css", "steer.css", "views.css"]) assert.match(await load(name), /\{/);
  for (const name of ["main.js", "local-worker.js", "reflow/worker.js"]) {
    const script = await load(name);
    assert.doesNotMatch(script, /from"preact|\bReact\b/);
    for (const [, path] of script.matchAll(/(?:from|import\()"\.\/([\w-]+\.js)"/g)) {
      await load(name.startsWith("reflow/") ? `reflow/${path}` : path);
    }
  }
  await load("reflow/relaxed-shared.wasm");
  // The model that the server runs.
  assert.equal(JSON.parse(await load("model/config.json")).context, 512);
});

test("interventions are calibrated on the checkpoint's held-out text, unless --text names another", async () => {
  const location = { target: { token: " the" }, hook: "hook_embed" };
  const interventions = [{ op: "add", ...location, strength: 2, unit: "sigma" }];
  const ask = async (args: string[]) => {
    const { url } = await serve(args);
    const request = { prompt: "the", max_tokens: 4, interventions };
    const response = await fetch(`${url}v1/completions`, post(request));
    return { status: response.status, body: await response.json() };
  };
  assert.equal((await ask([])).status, 200);
  // The standard deviation over one position is zero.
  const one = join(temporaryFolder({ "one.txt": "a" }), "one.txt");
  const { status, body } = await ask(["--text", one]);
  assert.equal(status, 400);
  assert.match(body.error.message, /the same at every position of the reference/);
});

test("keys and origins can be repeated or comma-separated", async () => {
  const { server, url } = await serve(["--key", "one", "--cors", "https://a.example/", "--key", "two,three"]);
  assert.match(server.stderr, /^tiny on wasm/);
  for (const [key, expected] of [
    ["two", 200],
    ["three", 200],
    ["two,three", 401],
  ] as const) {
    const headers = { authorization: `Bearer ${key}`, origin: "https://a.example" };
    const response = await fetch(`${url}v1/models`, { headers });
    await response.body?.cancel();
    assert.equal(response.status, expected);
    assert.equal(response.headers.get("access-control-allow-origin"), "https://a.example");
  }
});

test("keys from the environment protect the API and the model, and patches survive a restart", async () => {
  const patches = `${temporaryFolder()}/kept/patches.sqlite`;
  const run = () => serve(["--patches", patches], { REFLOW_KEYS: "one, two" }, ROOT);
  const headers = { authorization: "Bearer two" };
  const first = await run();
  const status = async (path: string, init?: RequestInit) => {
    const response = await fetch(first.url + path, init);
    await response.body?.cancel();
    return response.status;
  };
  assert.equal(await status("v1/models"), 401);
  assert.notEqual((await (await fetch(`${first.url}model/config.json`)).json()).context, 512);
  const made = { name: "kept", patch: { expression: "of += and" } };
  assert.equal(await status("v1/patches", post(made, headers)), 200);
  first.server.signal("SIGTERM");
  await first.server.waitForExit(0);
  assert.ok(existsSync(patches));
  const second = await run();
  const response = await fetch(`${second.url}v1/patches/kept`, { headers });
  assert.equal((await response.json()).name, "kept");
});

test("invalid usage prints two lines and exits with status 2", async () => {
  const outputOf = async (args: string[]) => {
    const server = start(args);
    await server.waitForExit(2);
    return server.stderr;
  };
  assert.match(await outputOf(["nowhere"]), /^error: .*nowhere.*\nhelp: .*\n$/);
  assert.match(await outputOf(["--patches", "/"]), /^error: cannot open \/: .*\nhelp: .*\n$/);
  assert.match(await outputOf(["--cors", "example.org"]), /example.org is not an origin/);
  assert.match(await outputOf(["--key", ""]), /Expected an API key/);
  assert.match(await outputOf(["--key", "schl\u00fcssel"]), /an HTTP header cannot carry/);
  assert.match(await outputOf(["--port", "-1"]), /Expected a whole number of at least 0/);
  assert.match(await outputOf(["--text", "nothing.txt"]), /^error: cannot read nothing.txt.*\nhelp: .*\n$/s);
});
