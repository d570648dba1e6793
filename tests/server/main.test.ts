/** `bun run server`, as it is started and ended. */
import { afterEach, expect, test } from "bun:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { post } from "./api.ts";

const MAIN = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

type Child = Bun.Subprocess<"ignore", "pipe", "pipe">;

let child: Child | undefined;
afterEach(() => child?.kill("SIGKILL"));

function start(args: string[], env: Record<string, string> = {}): Child {
  child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: temporaryFolder(),
    env: { ...process.env, ...env },
    stdout: "pipe",
    stderr: "pipe",
  });
  return child;
}

/** A server of the tiny model, and its address. */
async function serve(args: string[] = [], env: Record<string, string> = {}) {
  const folder = temporaryFolder();
  await writeTinyCheckpoint(`${folder}/tiny`, { context: 512 });
  const server = start([`${folder}/tiny`, "--port", "0", "--threads", "1", "--device", "wasm", ...args], env);
  const reader = server.stderr.getReader();
  let said = "";
  while (!/http:\S+/.test(said)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`it ended: ${said}`);
    said += new TextDecoder().decode(value);
  }
  return { server, said, url: /http:\S+\//.exec(said)![0] };
}

test("it serves, finishes what runs when it is told to end, and ends with 0", async () => {
  const { server, said, url } = await serve();
  expect(said).toMatch(/^tiny on wasm/);
  const request = { prompt: "the", max_tokens: 400, stream: true, n: 4 };
  const response = await fetch(`${url}v1/completions`, post(request));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = (await reader.read()).value!;
  server.kill("SIGTERM");
  for (let read = await reader.read(); !read.done; read = await reader.read()) text += read.value;
  expect(text).toEndWith("data: [DONE]\n\n");
  expect(text.match(/"finish_reason":"(length|stop)"/g)).toHaveLength(4);
  expect(await server.exited).toBe(0);
  const lines = (await new Response(server.stdout).text()).trim().split("\n");
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({ path: "/v1/completions", status: 200 });
  expect(fetch(`${url}livez`)).rejects.toThrow();
});

test("keys from the environment guard it, and patches outlive it", async () => {
  const patches = `${temporaryFolder()}/kept/patches.sqlite`;
  const run = () => serve(["--patches", patches], { REFLOW_KEYS: "one,two" });
  const headers = { authorization: "Bearer two" };
  const first = await run();
  expect((await fetch(`${first.url}v1/models`)).status).toBe(401);
  const made = { name: "kept", patch: { expression: "of += and" } };
  expect((await fetch(`${first.url}v1/patches`, post(made, headers))).status).toBe(200);
  first.server.kill("SIGTERM");
  expect(await first.server.exited).toBe(0);
  const second = await run();
  expect((await fetch(`${second.url}v1/patches/kept`, { headers })).status).toBe(200);
});

test("what can't be is said in two lines, with status 2", async () => {
  const said = async (args: string[]) => {
    const server = start(args);
    expect(await server.exited).toBe(2);
    return new Response(server.stderr).text();
  };
  expect(await said(["nowhere"])).toMatch(/^error: .*nowhere.*\nhelp: .*\n$/);
  expect(await said(["--port", "-1"])).toContain("A whole number from 0 on was expected");
  expect(await said(["--text", "nothing.txt"])).toMatch(/^error: nothing.txt can't be read.*\nhelp: .*\n$/s);
});
