import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import { openCheckpoint, stepFolder } from "../../../runtime/formats/checkpoint.ts";
import { quantizeRows } from "../../../runtime/formats/int8.ts";
import { quantizeCheckpoint } from "../../../runtime/formats/quantize.ts";
import { elementsOf, readSafetensors, writeSafetensors } from "../../../runtime/formats/safetensors.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { randomValues, tinyConfig, writeRandomCheckpoint } from "./random-checkpoint.ts";

const root = temporaryFolder();
let folders = 0;
async function newCheckpoint(): Promise<string> {
  const run = join(root, `run${folders++}`);
  await writeRandomCheckpoint(stepFolder(run, 1));
  return stepFolder(run, 1);
}
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
const modelOf = (folder: string) => join(folder, "model.safetensors");

test("int8 weights are written beside the f32 weights and listed in the manifest", async () => {
  const folder = await newCheckpoint();
  const path = quantizeCheckpoint(join(folder, ".."));
  expect(path).toBe(join(folder, "model.int8.safetensors"));
  const { metadata, tensors } = readSafetensors(readFileSync(path));
  const identity = sha256(modelOf(folder));
  expect(metadata).toEqual({ identity });
  for (const { name, shape } of parameterSpecs(tinyConfig)) {
    const values = randomValues(elementsOf(shape), 1);
    if (shape.length === 1) {
      expect(tensors.get(name)).toEqual({ dtype: "F32", shape, data: values });
    } else {
      const [rows, columns] = shape;
      const wanted = quantizeRows(values, rows, columns);
      expect(tensors.get(name)).toEqual({ dtype: "I8", shape, data: wanted.values });
      const groups = Math.ceil(columns / 32);
      expect(tensors.get(`${name}.scale`)).toEqual({
        dtype: "F32",
        shape: [rows, groups],
        data: wanted.scale,
      });
    }
  }
  const { files } = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  expect(files["model.int8.safetensors"]).toEqual({ size: readFileSync(path).length, sha256: sha256(path) });
  expect(readdirSync(folder).filter((name) => name.startsWith("."))).toEqual([]);

  const int8 = openCheckpoint(folder, { weights: "int8" });
  expect([int8.weights, int8.identity]).toEqual(["int8", identity]);
  int8.close();
  const f32 = openCheckpoint(folder);
  expect([f32.weights, f32.identity]).toEqual(["f32", identity]);
  f32.close();

  quantizeCheckpoint(folder);
  expect(sha256(path)).toBe(files["model.int8.safetensors"].sha256);
});

test("quantising a matrix in several chunks gives the same result as in one", async () => {
  const folder = join(root, "large");
  const config = { ...tinyConfig, vocab_size: 14_000 };
  await writeRandomCheckpoint(folder, 1, config);
  const { tensors } = readSafetensors(readFileSync(quantizeCheckpoint(folder)));
  const wanted = quantizeRows(randomValues(14_000 * 40), 14_000, 40);
  expect(tensors.get("recipe")?.data).toEqual(wanted.values);
  expect(tensors.get("recipe.scale")?.data).toEqual(wanted.scale);
});

test("int8 weights load without f32 weights, with and without a manifest", async () => {
  const folder = await newCheckpoint();
  const path = quantizeCheckpoint(folder);
  const identity = sha256(modelOf(folder));
  rmSync(modelOf(folder));
  const bare = join(root, "bare");
  mkdirSync(bare);
  for (const name of ["config.json", "model.int8.safetensors"])
    copyFileSync(join(folder, name), join(bare, name));
  for (const place of [folder, bare]) {
    const checkpoint = openCheckpoint(place);
    expect([checkpoint.weights, checkpoint.identity]).toEqual(["int8", identity]);
    checkpoint.close();
    await expectError(() => openCheckpoint(place, { weights: "f32" }), "checkpoint", /model\.safetensors/);
  }
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(path, bytes);
  await expectError(() => openCheckpoint(folder), "checkpoint", /model\.int8\.safetensors is corrupt/);
});

test("missing int8 weights, and those of another model, are rejected", async () => {
  const folder = await newCheckpoint();
  const error = await expectError(
    () => openCheckpoint(folder, { weights: "int8" }),
    "checkpoint",
    /has no model\.int8/,
  );
  expect(error.help).toContain("quantize");
  const path = quantizeCheckpoint(folder);
  const { tensors } = readSafetensors(readFileSync(path));
  // The state after a kill between the rename and the new manifest: the file exists but is not listed.
  const manifestPath = join(folder, "manifest.json");
  const manifest = JSON.parse(readFileSync(manifestPath, "utf8"));
  delete manifest.files["model.int8.safetensors"];
  writeFileSync(manifestPath, JSON.stringify(manifest));
  openCheckpoint(folder, { weights: "int8" }).close();

  writeFileSync(path, writeSafetensors(tensors, { identity: "0".repeat(64) }));
  await expectError(
    () => openCheckpoint(folder, { weights: "int8" }),
    "checkpoint",
    /made from another model/,
  );
  writeFileSync(path, writeSafetensors(tensors));
  await expectError(
    () => openCheckpoint(folder, { weights: "int8" }),
    "checkpoint",
    /does not name the model/,
  );
  tensors.delete("basis.scale");
  writeFileSync(path, writeSafetensors(tensors));
  await expectError(
    () => openCheckpoint(folder, { weights: "int8" }),
    "checkpoint",
    /missing tensors: basis\.scale/,
  );
});

test("weights that are not finite are rejected, and nothing is left behind", async () => {
  const folder = await newCheckpoint();
  const { tensors } = readSafetensors(readFileSync(modelOf(folder)));
  tensors.get("blocks.1.attn.q.weight")!.data[5] = Number.NaN as never;
  rmSync(join(folder, "manifest.json"));
  writeFileSync(modelOf(folder), writeSafetensors(tensors));
  await expectError(
    () => quantizeCheckpoint(folder),
    "numerics",
    /"blocks\.1\.attn\.q\.weight" holds values/,
  );
  expect(readdirSync(folder).filter((name) => name.includes("int8"))).toEqual([]);
});
