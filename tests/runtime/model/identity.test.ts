import { afterAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { quantizeCheckpoint } from "../../../runtime/formats/quantize.ts";
import { loadModel } from "../../../runtime/mod.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { writeTinyCheckpoint } from "../../support/tiny-checkpoint.ts";

const root = temporaryFolder();
const server = Bun.serve({
  hostname: "localhost",
  port: 0,
  fetch({ url }) {
    const path = join(root, new URL(url).pathname);
    return existsSync(path) ? new Response(Bun.file(path)) : new Response("no", { status: 404 });
  },
});
afterAll(() => server.stop(true));

async function identity(from: string | URL, weights?: "f32" | "int8"): Promise<string | undefined> {
  using model = await loadModel(from, { device: "wasm", threads: 1, weights });
  return model.checkpoint;
}

test("the identity is the hash of the f32 weights, from disk or HTTP, in int8, and without a manifest", async () => {
  const folder = join(root, "tiny");
  await writeTinyCheckpoint(folder);
  const web = new URL("tiny", server.url);
  const file = (name: string) => join(folder, name);
  const sha256 = createHash("sha256")
    .update(readFileSync(file("model.safetensors")))
    .digest("hex");
  expect(await identity(folder)).toBe(sha256);
  expect(await identity(folder, "int8")).toBe(sha256);
  expect(await identity(web)).toBe(sha256);
  quantizeCheckpoint(folder);
  rmSync(file("manifest.json"));
  expect(await identity(folder)).toBe(sha256);
  // Without a manifest the hash is unknown, because streamed weights are not hashed.
  expect(await identity(web, "f32")).toBeUndefined();
  expect(await identity(web, "int8")).toBe(sha256);
  rmSync(file("model.safetensors"));
  expect(await identity(folder)).toBe(sha256);
});
