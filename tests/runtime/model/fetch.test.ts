import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { quantizeCheckpoint } from "../../../runtime/formats/quantize.ts";
import { loadModel } from "../../../runtime/mod.ts";
import { fetchModel } from "../../../runtime/model/fetch.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { writeTinyCheckpoint } from "../../support/tiny-checkpoint.ts";

const root = temporaryFolder();
const server = Bun.serve({
  hostname: "localhost",
  port: 0,
  fetch({ url }) {
    const { pathname } = new URL(url);
    if (pathname.startsWith("/broken/")) return new Response("no", { status: 503 });
    if (pathname.startsWith("/app/")) return new Response("<!doctype html>");
    const path = join(root, pathname);
    return existsSync(path) ? new Response(Bun.file(path)) : new Response("no", { status: 404 });
  },
});
afterAll(() => server.stop(true));
const at = (path: string) => new URL(path, server.url);

async function checkpoint(name: string): Promise<string> {
  const folder = join(root, name);
  await writeTinyCheckpoint(folder);
  return folder;
}

/** Loads a model, runs it once and releases it. */
async function logits(from: string | URL, weights?: "f32" | "int8"): Promise<Float32Array> {
  using model = await loadModel(from, { device: "wasm", threads: 1, weights });
  return (await model.forward(model.tokenize("the king and the queen"))).data;
}

test("a model loads equally over HTTP and from disk, in f32, in int8, and quantised while loading", async () => {
  const folder = await checkpoint("tiny");
  const f32 = await logits(folder);
  expect(await logits(at("tiny"))).toEqual(f32);
  expect(await logits(at("tiny/"), "f32")).toEqual(f32);
  expect(await logits(pathToFileURL(folder))).toEqual(f32);
  const int8 = await logits(folder, "int8");
  expect(int8).not.toEqual(f32);
  expect(await logits(at("tiny"), "int8")).toEqual(int8);
  quantizeCheckpoint(folder);
  rmSync(join(folder, "model.safetensors"));
  expect(await logits(at("tiny"), "int8")).toEqual(int8);
  expect(await logits(at("tiny"))).toEqual(int8);
  await expectError(() => logits(at("tiny"), "f32"), "checkpoint", /tiny\/ has no model.safetensors$/);
});

test("a checkpoint without a tokenizer loads", async () => {
  rmSync(join(await checkpoint("mute"), "tokenizer.json"));
  using model = await loadModel(at("mute"), { device: "wasm", threads: 1 });
  expect((await model.forward([1, 2, 3])).shape).toEqual([1, 3, 300]);
  await expectError(() => model.tokenize("a"), "checkpoint", /no tokenizer.json/);
});

test("errors name files that cannot be fetched", async () => {
  await expectError(() => logits(at("nowhere")), "checkpoint", /nowhere\/config.json does not exist/);
  await expectError(() => logits(at("broken")), "network", /broken\/(config|tokenizer).json: HTTP 503/);
  await expectError(() => logits(at("app")), "checkpoint", /app\/(config|tokenizer).json is not JSON/);
  const closed = Bun.serve({ port: 0, hostname: "localhost", fetch: () => new Response() });
  const { url } = closed;
  await closed.stop(true);
  await expectError(() => logits(url), "network", /json could not be fetched: /);
});

test("invalid and truncated files are rejected, naming the file", async () => {
  const folder = await checkpoint("wrong");
  const path = join(folder, "model.safetensors");
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.subarray(0, bytes.length - 100));
  await expectError(() => logits(at("wrong")), "network", /model.safetensors broke off after \d+ bytes/);
  writeFileSync(path, "<!doctype html>");
  await expectError(() => logits(at("wrong")), "format", /model.safetensors: a header of/);
  writeFileSync(path, bytes);
  const config = join(folder, "config.json");
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), d_ff: 64 }));
  await expectError(() => logits(at("wrong")), "checkpoint", /tensor "blocks.0.*" has the shape/);
  await expectError(() => loadModel(at("wrong"), { device: "gpu" as "wasm" }), "checkpoint", /shape/);
});

test("a custom fetch and a compiled kernel module are supported, as Cloudflare Workers need them", async () => {
  const folder = await checkpoint("elsewhere");
  const kernels = readFileSync(new URL("../../../kernels-as/build/relaxed-plain.wasm", import.meta.url));
  const requested: string[] = [];
  using model = await fetchModel(new URL("https://nowhere.invalid/tiny"), {
    device: "wasm",
    module: await WebAssembly.compile(kernels),
    async fetch({ pathname }) {
      requested.push(pathname);
      const path = join(folder, pathname.replace("/tiny", ""));
      return existsSync(path) ? new Response(Bun.file(path)) : new Response("no", { status: 404 });
    },
  });
  expect(model.device).toBe("wasm (relaxed-plain, 1 thread)");
  expect((await model.forward([1, 2])).data).toEqual((await logitsOf(folder, [1, 2])).data);
  expect(requested).toContain("/tiny/model.safetensors");
});

async function logitsOf(from: string, ids: number[]) {
  using model = await loadModel(from, { device: "wasm", threads: 1 });
  return await model.forward(ids);
}
