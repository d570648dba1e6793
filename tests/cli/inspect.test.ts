import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { resolveConfig } from "../../runtime/config/config.ts";
import { PRESETS } from "../../runtime/config/presets.ts";
import { quantizeCheckpoint } from "../../runtime/formats/quantize.ts";
import { inferenceBytes } from "../../runtime/transformer/inference.ts";
import { trainingBytes } from "../../runtime/transformer/trainable-model.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { tinyTokenizer, writeTinyCheckpoint } from "../support/tiny-checkpoint.ts";
import { cli, cliWith, json, refused } from "./support.ts";

interface Inspected {
  parameters: number;
  config: object;
  tensors: { name: string; shape: number[]; count: number; dtype: string }[];
  memory: {
    batch: number;
    context: number;
    inference: Record<"f32" | "f16" | "int8", { total: number; fitsWasm: boolean }>;
    training: { total: number; fitsWasm: boolean };
  };
  identity?: string;
  step?: number;
  tokenizer?: { tokens: number };
  files?: { name: string; bytes: number }[];
}

const root = temporaryFolder();
const tiny = join(root, "tiny");
const config = await writeTinyCheckpoint(tiny);

describe("a preset", () => {
  test("reflow-1 has 463,668,224 parameters and fits WASM for inference but not for training", async () => {
    const { stdout } = await cli("inspect", "--preset", "reflow-1", "--json");
    expect(stdout).toContain('"parameters":463668224');
    const { tensors, memory }: Inspected = JSON.parse(stdout);
    expect(tensors.length).toBe(2 + 32 * 9 + 1);
    expect(tensors[0]).toEqual({ name: "recipe", shape: [50304, 1024], count: 50304 * 1024, dtype: "F32" });
    expect(tensors.reduce((sum, { count }) => sum + count, 0)).toBe(463668224);
    expect(memory.inference.f32.fitsWasm).toBe(true);
    expect(memory.training.fitsWasm).toBe(false);
  });

  test("accepts variant, batch and context; memory matches the runtime's allocations", async () => {
    const flags = ["--variant", "gpt2", "--batch", "3", "--context", "100"];
    const { parameters, memory, ...rest } = await json<Inspected>("inspect", "--preset", "nano", ...flags);
    const expected = resolveConfig(PRESETS.nano, { variant: "gpt2", context: 100 });
    expect(rest.config).toEqual(expected);
    expect(parameters).toBe(rest.tensors.reduce((sum, { count }) => sum + count, 0));
    const shape = { batch: 3, length: 100 };
    for (const type of ["f32", "f16", "int8"] as const) {
      expect(memory.inference[type]).toEqual({ ...inferenceBytes(expected, type, shape), fitsWasm: true });
    }
    expect(memory.training.total).toBe(trainingBytes(expected, shape));
  });

  test("the table fits 40 columns and shows a block once", async () => {
    const { stdout } = await cliWith({ env: { COLUMNS: "40" } }, "inspect", "--preset", "reflow-1");
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(40);
    expect(stdout).toMatch(/^recipe +50304×1024 +51,511,296$/m);
    expect(stdout).toMatch(/^32 × block +411,107,328$/m);
    expect(stdout).toMatch(/^ {2}mlp.down.weight +1024×2816 +2,883,584$/m);
    expect(stdout).toMatch(/^total +463,668,224$/m);
    expect(stdout.match(/attn.q.weight/g)?.length).toBe(1);
    expect(stdout).toMatch(/^weights +1.73 GiB +891 MiB +505 MiB$/m);
  });

  test("rejects invalid input", async () => {
    expect(await refused("inspect")).toContain("no checkpoint or preset given");
    expect(await refused("inspect", "--preset", "reflo-1")).toContain("Did you mean reflow-1?");
    expect(await refused("inspect", "--preset", "nano", "--variant", "gpt3")).toContain("Did you mean gpt2?");
    expect(await refused("inspect", "--preset", "nano", "--batch", "0")).toContain(
      "Expected an integer of at least 1",
    );
    expect(await refused("inspect", "nano")).toContain("did you mean --preset nano?");
  });
});

describe("a checkpoint", () => {
  test("shows weights, identity, step, tokenizer and files", async () => {
    const inspected = await json<Inspected>("inspect", tiny);
    const weights = readFileSync(join(tiny, "model.safetensors"));
    expect(inspected).toMatchObject({
      folder: tiny,
      identity: createHash("sha256").update(weights).digest("hex"),
      step: 1234,
      tokenizer: { tokens: tinyTokenizer.vocabSize },
      config,
      parameters: inspected.tensors.reduce((sum, { count }) => sum + count, 0),
    });
    const names = ["config.json", "manifest.json", "model.safetensors", "tokenizer.json", "trainer.json"];
    expect(inspected.files?.map(({ name }) => name)).toEqual(names);
    expect(inspected.files?.[2].bytes).toBe(weights.length);
    expect(inspected.tensors.at(-1)).toEqual({
      name: "final_norm.weight",
      shape: [32],
      count: 32,
      dtype: "F32",
    });
    const { stdout } = await cli("inspect", tiny);
    expect(stdout).toContain("25,536 parameters");
    expect(stdout).toMatch(/^step +1,234$/m);
  });

  test("accepts int8 weights only, and checkpoints from other tools", async () => {
    const folder = join(root, "int8");
    await writeTinyCheckpoint(folder);
    quantizeCheckpoint(folder);
    for (const name of ["model.safetensors", "manifest.json", "tokenizer.json", "trainer.json"]) {
      rmSync(join(folder, name));
    }
    const { tensors, parameters, identity, ...rest } = await json<Inspected>("inspect", folder);
    expect(tensors[1]).toEqual({ name: "recipe.scale", shape: [300, 1], count: 300, dtype: "F32" });
    expect(tensors[0].dtype).toBe("I8");
    expect(parameters).toBe(25536);
    expect(identity).toBe((await json<Inspected>("inspect", tiny)).identity);
    expect(rest.step).toBeUndefined();
    expect(rest.tokenizer).toBeUndefined();
    expect((await cli("inspect", folder)).stdout).toMatch(/^weights +I8, F32$/m);
  });

  test("rejects missing, truncated, corrupted and mismatched files", async () => {
    expect(await refused("inspect", join(root, "none"))).toContain("does not exist");
    expect(await refused("inspect", root)).toContain("holds no checkpoint");
    expect(await refused("inspect", tiny, "--preset", "nano")).toContain("do not apply to a checkpoint");
    expect(await refused("inspect", tiny, "--context", "49")).toContain("more than the model's 48");

    const folder = join(root, "damaged");
    await writeTinyCheckpoint(folder);
    const file = join(folder, "model.safetensors");
    const bytes = readFileSync(file);
    bytes[bytes.length - 5] ^= 1;
    writeFileSync(file, bytes);
    expect(await refused("inspect", folder)).toMatch(/model.safetensors is corrupt/);
    truncateSync(file, statSync(file).size - 4);
    expect(await refused("inspect", folder)).toMatch(
      /model.safetensors has .* bytes where manifest.json says/,
    );
    rmSync(join(folder, "manifest.json"));
    expect(await refused("inspect", folder)).toMatch(/model.safetensors: tensor .* ends at/);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, n_heads: 5 }));
    expect(await refused("inspect", folder)).toContain("n_heads 5 does not divide d_model 32");
  });
});
