import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HostArray, Tensor } from "../../../runtime/backend/contract/backend.ts";
import { type ModelConfig, VARIANTS } from "../../../runtime/config/config.ts";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import { openCheckpoint, writeCheckpoint } from "../../../runtime/formats/checkpoint.ts";
import { f32Entries } from "../../../runtime/formats/checkpoint-tensors.ts";
import { f32ToF16 } from "../../../runtime/formats/f16.ts";
import { quantizeCheckpoint } from "../../../runtime/formats/quantize.ts";
import { type TensorData, writeSafetensors } from "../../../runtime/formats/safetensors.ts";
import { loadModel } from "../../../runtime/mod.ts";
import { openWeights } from "../../../runtime/model/load.ts";
import { Model } from "../../../runtime/model/model.ts";
import { readModel } from "../../../runtime/model/read.ts";
import { trainBpe } from "../../../runtime/text/train-bpe.ts";
import { assertClose } from "../../support/compare.ts";
import { expectError } from "../../support/expect-error.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import {
  makeModel,
  randomIds,
  randomValues,
  tinyConfig,
  type WeightType,
} from "../transformer/inference-support.ts";

const root = temporaryFolder();
const tokenizer = trainBpe(["ab ab"], 258);

async function save(name: string, config: ModelConfig): Promise<string> {
  const folder = join(root, name);
  await writeCheckpoint(folder, (files) => {
    files.json("config.json", config);
    files.json("tokenizer.json", tokenizer);
    const file = files.tensors("model.safetensors", f32Entries(config));
    for (const [parameter, values] of randomValues(config)) file.write(parameter, values);
  });
  return folder;
}

/** Logits of the same weights on the reference backend, without a file. */
async function expected(config: ModelConfig, type: WeightType, ids: Int32Array): Promise<Float32Array> {
  return (await new Model(await makeModel(new ReferenceBackend(), config, type)).forward(ids)).data;
}

async function read(folder: string, weights?: "f32" | "int8"): Promise<Model> {
  const checkpoint = openWeights(folder, { weights });
  try {
    return await readModel(new ReferenceBackend(), checkpoint, { weights });
  } finally {
    checkpoint.close();
  }
}

for (const variant of VARIANTS) {
  test(`${variant}: f32, int8 and weights quantised while loading give the expected logits`, async () => {
    const config = tinyConfig(variant, { vocab_size: 263 });
    const folder = await save(variant, config);
    const ids = randomIds(config, 9);
    const logits = async (weights?: "f32" | "int8") =>
      (await (await read(folder, weights)).forward(ids)).data;
    const [f32, i8] = [await expected(config, "f32", ids), await expected(config, "i8", ids)];
    expect(await logits()).toEqual(f32);
    expect(await logits("f32")).toEqual(f32);
    expect(await logits("int8")).toEqual(i8);
    quantizeCheckpoint(folder);
    expect(await logits("int8")).toEqual(i8);
    expect(await logits()).toEqual(f32);
    rmSync(join(folder, "model.safetensors"));
    expect(await logits()).toEqual(i8);
    await expectError(() => logits("f32"), "checkpoint", /has no model.safetensors/);
  });
}

test("a folder of another tool loads: half precision, no tokenizer, no manifest", async () => {
  const config = tinyConfig("reflow");
  const folder = join(root, "other");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const values = randomValues(config);
  const tensors = parameterSpecs(config).map(({ name, shape }): [string, TensorData] => [
    name,
    { dtype: "F16", shape, data: f32ToF16(values.get(name)!) },
  ]);
  writeFileSync(join(folder, "model.safetensors"), writeSafetensors(new Map(tensors)));
  const ids = randomIds(config, 9);
  const model = await read(folder);
  // The norms are rounded here too, unlike in makeModel.
  assertClose((await model.forward(ids)).data, await expected(config, "f16", ids), { relative: 1e-3 }, "f16");
  expect((await (await read(folder, "f32")).forward(ids)).data).toEqual((await model.forward(ids)).data);
  await expectError(() => model.tokenize("a"), "checkpoint", /no tokenizer.json/);
});

describe("on WASM", () => {
  test("a model loads, generates and is disposed by `using`", async () => {
    const config = tinyConfig("reflow", { vocab_size: 263 });
    const folder = await save("wasm", config);
    using model = await loadModel(folder, { threads: 2 });
    expect(model.config).toEqual(config);
    expect(model.device).toContain("wasm");
    const ids = randomIds(config, 9);
    assertClose(
      (await model.forward(ids)).data,
      await expected(config, "f32", ids),
      { relative: 1e-5 },
      "logits",
    );
    using int8 = await loadModel(folder, { weights: "int8", threads: 1 });
    assertClose(
      (await int8.forward(ids)).data,
      await expected(config, "i8", ids),
      { relative: 1e-2 },
      "int8",
    );
    let text = "";
    for await (const event of model.generate("ab", { maxTokens: 5, seed: 1 })) text += event.text;
    expect(text).not.toBe("");
    expect([...model.tokenize("ab")]).toEqual([...tokenizer.encode("ab")]);
  });

  test("checkpoints that cannot be loaded are rejected", async () => {
    const folder = await save("wrong", tinyConfig("reflow"));
    await expectError(() => loadModel(join(root, "nowhere")), "checkpoint", /does not exist/);
    const device = "gpu" as "wasm";
    await expectError(() => loadModel(folder, { device }), "usage", /no device "gpu"/);
    writeFileSync(join(folder, "model.safetensors"), "short");
    await expectError(() => loadModel(folder), "checkpoint", /model.safetensors/);
  });

  test("an unavailable device is rejected", async () => {
    const folder = await save("threads", tinyConfig("reflow"));
    await expectError(() => loadModel(folder, { threads: 0 }), "usage", /threads is 0/);
  });
});

test("weights are written to the device in chunks", async () => {
  const config = tinyConfig("reflow", { vocab_size: 30_000, n_layers: 1 });
  const folder = await save("large", config);
  class Recording extends ReferenceBackend {
    largest = 0;
    override write(tensor: Tensor, values: HostArray, offset?: number): void {
      this.largest = Math.max(this.largest, values.byteLength);
      super.write(tensor, values, offset);
    }
  }
  for (const weights of ["f32", "int8"] as const) {
    const backend = new Recording();
    const checkpoint = openCheckpoint(folder);
    await readModel(backend, checkpoint, { weights });
    checkpoint.close();
    expect(backend.largest).toBeLessThanOrEqual(2 ** 20);
    expect(30_000 * config.n_signals! * 4).toBeGreaterThan(2 ** 21);
  }
});
