import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import {
  latestCheckpoint,
  openCheckpoint,
  pruneCheckpoints,
  resolveCheckpoint,
  stepFolder,
} from "../../../runtime/formats/checkpoint.ts";
import { f32Entries } from "../../../runtime/formats/checkpoint-tensors.ts";
import {
  arrayOf,
  elementsOf,
  type SafetensorsDType,
  writeSafetensors,
} from "../../../runtime/formats/safetensors.ts";
import type { TensorFile } from "../../../runtime/formats/tensor-file.ts";
import { expectError } from "../../support/expect-error.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { randomValues, tinyConfig, tokenizerJson, writeRandomCheckpoint } from "./random-checkpoint.ts";

const root = temporaryFolder();
chmodSync(root, 0o755); // Some tests save as another user.
let folders = 0;
const newRun = () => join(root, `run${folders++}`);
const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

function wholeTensor(file: TensorFile, name: string): Float32Array {
  const whole = new Float32Array(elementsOf(file.tensors.get(name)!.shape));
  file.readF32(name, (chunk, offset) => whole.set(chunk, offset));
  return whole;
}

/** Changes one bit in the middle of a file. */
function flipBit(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] ^= 4;
  writeFileSync(path, bytes);
}

describe("a checkpoint", () => {
  test("is read back as it was written, with a manifest that matches its files", async () => {
    const folder = stepFolder(newRun(), 7);
    expect(folder).toEndWith("step-00000007");
    await writeRandomCheckpoint(folder, 7);
    const checkpoint = openCheckpoint(folder);
    expect(checkpoint.folder).toBe(folder);
    expect(checkpoint.config).toEqual(tinyConfig);
    expect(checkpoint.tokenizerJson).toEqual(tokenizerJson);
    expect(checkpoint.weights).toBe("f32");
    expect(checkpoint.identity).toBe(sha256(join(folder, "model.safetensors")));
    expect(checkpoint.readJson("trainer.json")).toEqual({ step: 7 });
    expect(checkpoint.readJson("absent.json")).toBeUndefined();
    for (const { name, shape } of parameterSpecs(tinyConfig)) {
      expect(wholeTensor(checkpoint.tensors, name)).toEqual(randomValues(elementsOf(shape), 7));
    }
    const optimizer = checkpoint.openTensors("optimizer.safetensors");
    expect(optimizer.tensors.size).toBe(checkpoint.tensors.tensors.size);
    optimizer.close();
    checkpoint.close();

    const manifest = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
    const others = readdirSync(folder).filter((name) => name !== "manifest.json");
    expect(Object.keys(manifest.files).sort()).toEqual(others.sort());
    for (const name of others) {
      const path = join(folder, name);
      expect(manifest.files[name]).toEqual({ size: readFileSync(path).length, sha256: sha256(path) });
    }
    expect(readdirSync(join(folder, ".."))).toEqual(["step-00000007"]);
  });

  for (const name of ["model.safetensors", "config.json", "tokenizer.json"]) {
    test(`detects a flipped bit in ${name}, a wrong size and a missing file`, async () => {
      const folder = newRun();
      await writeRandomCheckpoint(folder);
      const path = join(folder, name);
      const bytes = readFileSync(path);
      flipBit(path);
      await expectError(() => openCheckpoint(folder), "checkpoint", new RegExp(`${name} is corrupt`));
      truncateSync(path, bytes.length - 1);
      await expectError(
        () => openCheckpoint(folder),
        "checkpoint",
        new RegExp(`${name} has ${bytes.length - 1} bytes`),
      );
      rmSync(path);
      await expectError(() => openCheckpoint(folder), "checkpoint", new RegExp(name.replace(".", "\\.")));
    });
  }

  test("verifies a file when it is read, unless verify is false", async () => {
    const folder = newRun();
    await writeRandomCheckpoint(folder);
    flipBit(join(folder, "optimizer.safetensors"));
    const checkpoint = openCheckpoint(folder);
    await expectError(
      () => checkpoint.openTensors("optimizer.safetensors"),
      "checkpoint",
      /optimizer.* is corrupt/,
    );
    checkpoint.close();
    flipBit(join(folder, "model.safetensors"));
    const unverified = openCheckpoint(folder, { verify: false });
    unverified.openTensors("optimizer.safetensors").close();
    unverified.close();
  });

  test("loads without its optimizer, but cannot be resumed", async () => {
    const folder = newRun();
    await writeRandomCheckpoint(folder);
    rmSync(join(folder, "optimizer.safetensors"));
    const checkpoint = openCheckpoint(folder);
    await expectError(
      () => checkpoint.openTensors("optimizer.safetensors"),
      "checkpoint",
      /optimizer.* is missing/,
    );
    checkpoint.close();
  });

  test("rejects an invalid manifest", async () => {
    const folder = newRun();
    await writeRandomCheckpoint(folder);
    const path = join(folder, "manifest.json");
    const record = { size: 1, sha256: "0".repeat(64) };
    const wrong = [
      "",
      "{",
      "null",
      "{}",
      '{"files":[1]}',
      JSON.stringify({ files: { a: { size: -1, sha256: record.sha256 } } }),
      JSON.stringify({ files: { a: { size: 1, sha256: "no" } } }),
      JSON.stringify({ files: { "../a": record } }),
    ];
    for (const text of wrong) {
      writeFileSync(path, text);
      await expectError(() => openCheckpoint(folder), "checkpoint", /manifest\.json lists no files/);
    }
  });
});

describe("a folder written by another tool", () => {
  function foreign(
    dtype: SafetensorsDType,
    change?: (tensors: Map<string, { shape: number[] }>) => void,
  ): string {
    const folder = newRun();
    mkdirSync(folder);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...tinyConfig, made_by: "another tool" }));
    const shapes = new Map(f32Entries(tinyConfig).map(({ name, shape }) => [name, { shape: [...shape] }]));
    change?.(shapes);
    const tensors = [...shapes].map(([name, { shape }]) => {
      const data = new (arrayOf(dtype))(elementsOf(shape));
      if (dtype === "F16") data.fill(0x3c00 as never);
      if (dtype === "BF16") data.fill(0x3f80 as never);
      if (dtype === "F32") data.fill(1 as never);
      return [name, { dtype, shape, data }] as const;
    });
    writeFileSync(join(folder, "model.safetensors"), writeSafetensors(new Map(tensors)));
    return folder;
  }

  for (const dtype of ["F32", "F16", "BF16"] as const) {
    test(`loads with config.json and ${dtype} weights only`, () => {
      const folder = foreign(dtype);
      const checkpoint = openCheckpoint(folder);
      expect(checkpoint.tokenizerJson).toBeUndefined();
      expect(checkpoint.identity).toBe(sha256(join(folder, "model.safetensors")));
      expect(wholeTensor(checkpoint.tensors, "basis").every((x) => x === 1)).toBe(true);
      checkpoint.close();
    });
  }

  test("other dtypes, shapes and names are rejected, naming the tensor", async () => {
    await expectError(
      () => openCheckpoint(foreign("I32")),
      "checkpoint",
      /tensor "recipe" is I32, expected F32/,
    );
    const transposed = foreign("F32", (tensors) => tensors.get("recipe")!.shape.reverse());
    await expectError(
      () => openCheckpoint(transposed),
      "checkpoint",
      /"recipe" has the shape \[40,97\].*\[97,40\]/,
    );
    const renamed = foreign("F32", (tensors) => {
      tensors.set("lm_head.weight", tensors.get("recipe")!);
      tensors.delete("recipe");
    });
    await expectError(
      () => openCheckpoint(renamed),
      "checkpoint",
      /missing tensors: recipe; unexpected tensors: lm_head\.weight/,
    );
    const empty = foreign("F32", (tensors) => {
      for (const name of [...tensors.keys()].slice(2)) tensors.delete(name);
    });
    await expectError(
      () => openCheckpoint(empty),
      "checkpoint",
      /missing tensors: blocks\.0\.attn_norm.* and \d+ more/,
    );
  });

  test("a config with an absurd number of layers is rejected before its parameters are listed", async () => {
    const folder = foreign("F32");
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...tinyConfig, n_layers: 2 ** 24 }));
    await expectError(() => openCheckpoint(folder), "checkpoint", /too few for n_layers 16777216/);
  });

  test("an invalid config, missing weights and a missing folder are rejected", async () => {
    const folder = foreign("F32");
    writeFileSync(join(folder, "config.json"), "{");
    await expectError(() => openCheckpoint(folder), "checkpoint", /config\.json is not JSON/);
    writeFileSync(join(folder, "config.json"), '{"variant":"gpt5"}');
    await expectError(() => openCheckpoint(folder), "config", /config\.json: variant/);
    rmSync(join(folder, "model.safetensors"));
    await expectError(() => openCheckpoint(folder), "checkpoint", /has no model\.safetensors/);
    await expectError(() => openCheckpoint(join(folder, "nope")), "checkpoint", /nope does not exist/);
    await expectError(() => openCheckpoint(join(folder, "config.json")), "checkpoint", /is not a folder/);
    await expectError(() => openCheckpoint(root), "checkpoint", /holds no checkpoint/);
  });
});

describe("a run folder", () => {
  test("the latest checkpoint is the newest complete one; temporary and damaged folders are skipped", async () => {
    const run = newRun();
    expect(latestCheckpoint(run)).toBeUndefined();
    for (const step of [5, 90, 100]) await writeRandomCheckpoint(stepFolder(run, step), step);
    mkdirSync(join(run, "step-00000200"));
    mkdirSync(join(run, ".step-00000300.tmp-1-00000000"));
    writeFileSync(join(run, "metrics.jsonl"), "");
    expect(latestCheckpoint(run)).toBe(stepFolder(run, 100));
    expect(resolveCheckpoint(run)).toBe(stepFolder(run, 100));
    expect(resolveCheckpoint(stepFolder(run, 5))).toBe(stepFolder(run, 5));
    truncateSync(join(stepFolder(run, 100), "model.safetensors"), 1000);
    expect(latestCheckpoint(run)).toBe(stepFolder(run, 90));
    rmSync(join(stepFolder(run, 90), "config.json"));
    rmSync(stepFolder(run, 200), { recursive: true });
    expect(latestCheckpoint(run)).toBe(stepFolder(run, 5));
    rmSync(stepFolder(run, 5), { recursive: true });
    await expectError(() => resolveCheckpoint(run), "checkpoint", /step-00000100.* has 1000 bytes/);
  });

  test("pruning keeps the newest complete checkpoints and removes the remains of interrupted saves", async () => {
    const run = newRun();
    for (const step of [1, 2, 3, 4]) await writeRandomCheckpoint(stepFolder(run, step), step);
    truncateSync(join(stepFolder(run, 4), "model.safetensors"), 1000);
    mkdirSync(join(run, ".step-00000009.tmp-12345-0badcafe"));
    writeFileSync(join(run, "metrics.jsonl"), "");
    pruneCheckpoints(run, 2);
    // Step 4 is damaged: it does not count and is not removed.
    expect(readdirSync(run).sort()).toEqual([
      "metrics.jsonl",
      "step-00000002",
      "step-00000003",
      "step-00000004",
    ]);
    expect(() => pruneCheckpoints(run, 0)).toThrow(RangeError);
  });
});
