import { expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, json, refused } from "./support.ts";

const root = temporaryFolder();
const folder = join(root, "model");
await writeTinyCheckpoint(folder);

test("writes int8 weights beside the f32 weights, and prints the sizes", async () => {
  const bytes = (name: string) => statSync(join(folder, name)).size;
  const printed = await json<object>("quantize", folder);
  const files = ["model.safetensors", "model.int8.safetensors"].map((name) => ({ name, bytes: bytes(name) }));
  expect(printed).toEqual({ folder, files });
  expect(files[1].bytes).toBeLessThan(files[0].bytes / 3);
  const int8 = openCheckpoint(folder, { weights: "int8" });
  const f32 = openCheckpoint(folder, { weights: "f32" });
  expect(int8.identity).toBe(f32.identity);
  for (const checkpoint of [int8, f32]) checkpoint.close();
  const { stdout } = await cli("quantize", folder);
  expect(stdout).toMatch(/^model.safetensors +101 KiB\nmodel.int8.safetensors +[\d.]+ KiB$/m);
});

test("rejects invalid checkpoints without modifying them", async () => {
  expect(await refused("quantize", join(root, "none"))).toContain("does not exist");
  const file = join(folder, "model.safetensors");
  const bytes = readFileSync(file);
  bytes.fill(0xff, bytes.length - 256, bytes.length - 200);
  writeFileSync(file, bytes);
  const before = readdirSync(folder);
  expect(await refused("quantize", folder)).toContain("is corrupt");
  rmSync(join(folder, "model.int8.safetensors"));
  rmSync(join(folder, "manifest.json"));
  expect(await refused("quantize", folder, "--json")).toContain("holds values that are not finite");
  const gone = ["model.int8.safetensors", "manifest.json"];
  expect(readdirSync(folder)).toEqual(before.filter((name) => !gone.includes(name)));
});
