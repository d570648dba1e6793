/** Resident memory of separate processes that train and sample. Linux only: reads /proc. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { resolveConfig } from "../../runtime/config/config.ts";
import { PRESETS } from "../../runtime/config/presets.ts";
import { writeCheckpoint } from "../../runtime/formats/checkpoint.ts";
import { int8Entries } from "../../runtime/formats/checkpoint-tensors.ts";
import { elementsOf } from "../../runtime/formats/safetensors.ts";
import { trainBpe } from "../../runtime/text/train-bpe.ts";
import { noAdapter } from "../support/webgpu.ts";
import { COMMON, text, Workspace } from "../trainer/workspace.ts";

const workspace = new Workspace();
const TIMEOUT = { timeout: 3_600_000 };
const MB = 1e6;

/** Resident memory of a process in bytes, at present (`VmRSS`) or at most so far (`VmHWM`); undefined once it has ended. */
function memory({ pid }: ChildProcess, field: "VmRSS" | "VmHWM"): number | undefined {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

/** The peak memory of a process in bytes, measured until it ends. */
async function peakOf(child: ChildProcess): Promise<number> {
  let peak = 0;
  const look = setInterval(() => {
    peak = memory(child, "VmHWM") ?? peak;
  }, 20);
  await new Promise((resolve) => child.once("close", resolve));
  clearInterval(look);
  return peak;
}

/** Writes tokens for a vocabulary of any size, without a tokenizer. */
function writeTokens(name: string, length: number, vocabSize: number): void {
  const ids = Uint16Array.from({ length }, (_, i) => (Math.imul(i, 2654435761) >>> 16) % vocabSize);
  writeFileSync(workspace.path(name), ids);
}

function assertBelow(bytes: number, most: number, what: string): void {
  console.log(`${what}: ${(bytes / MB).toFixed(1)} MB, at most ${most / MB} MB`);
  assert.ok(bytes > 0 && bytes < most, `${what}: used ${bytes} bytes`);
}

test("memory does not grow from step 200 to step 1,000, with evaluations and saves", TIMEOUT, async () => {
  const often = ["--log-every", "1", "--eval-every", "20", "--save-every", "50"];
  const trainer = workspace.start([...COMMON, "--steps", "1100", ...often, "--out", "growth"]);
  await trainer.waitForOutput(/step 200\//);
  const early = memory(trainer.child, "VmRSS")!;
  await trainer.waitForOutput(/step 1000\//);
  const late = memory(trainer.child, "VmRSS")!;
  await trainer.waitForExit(0);
  console.log(`RSS ${(early / MB).toFixed(1)} MB after 200 steps, ${(late / MB).toFixed(1)} MB after 1,000`);
  assert.ok(late - early < 20 * MB, `${early} bytes after 200 steps, ${late} after 1,000`);
});

test(noAdapter ? `2,000 steps on WebGPU: ${noAdapter}` : "2,000 steps on WebGPU grow by less than 50 MB", {
  ...TIMEOUT,
  skip: Boolean(noAdapter),
}, async () => {
  const config = {
    d_model: 16,
    n_signals: 16,
    n_layers: 1,
    n_heads: 2,
    d_ff: 32,
    context: 8,
    vocab_size: 300,
  };
  writeFileSync(workspace.path("least.json"), JSON.stringify(config));
  const run = ["--config", "least.json", "--data", "text.txt", "--batch", "1", "--device", "webgpu"];
  const often = ["--steps", "2100", "--log-every", "50", "--eval-every", "5000", "--save-every", "5000"];
  const trainer = workspace.start([...run, ...often, "--out", "webgpu"]);
  await trainer.waitForOutput(/step 50\//);
  const early = memory(trainer.child, "VmRSS")!;
  await trainer.waitForOutput(/step 2050\//);
  const late = memory(trainer.child, "VmRSS")!;
  await trainer.waitForExit(0);
  assertBelow(Math.max(1, late - early), 50 * MB, "growth over 2,000 steps on WebGPU");
});

test("training nano with B = 8, T = 256 takes less than 700 MB", TIMEOUT, async () => {
  writeTokens("nano.bin", 200_000, 8192);
  const shape = ["--preset", "nano", "--batch", "8", "--data", "nano.bin"];
  const trainer = workspace.start([
    ...shape,
    "--steps",
    "12",
    "--save-every",
    "4",
    "--eval-every",
    "6",
    "--out",
    "nano",
  ]);
  assertBelow(await peakOf(trainer.child), 700 * MB, "nano");
  await trainer.waitForExit(0);
});

test("training nano on text, including tokenisation, takes less than 700 MB", TIMEOUT, async () => {
  writeFileSync(workspace.path("long.txt"), text(20_000_000));
  const shape = ["--preset", "nano", "--batch", "8", "--data", "long.txt", "--tokenizer", "bpe:300"];
  const trainer = workspace.start([...shape, "--steps", "3", "--out", "nano-text"]);
  assertBelow(await peakOf(trainer.child), 700 * MB, "nano on text");
  await trainer.waitForExit(0);
});

test("training small with B = 1, T = 1024 takes less than 3 GB", TIMEOUT, async () => {
  writeTokens("small.bin", 50_000, 50304);
  const shape = ["--preset", "small", "--batch", "1", "--accumulate", "1", "--data", "small.bin"];
  const trainer = workspace.start([...shape, "--steps", "2", "--out", "small"]);
  assertBelow(await peakOf(trainer.child), 3000 * MB, "small");
  await trainer.waitForExit(0);
});

test("sampling from reflow-1 in int8 takes less than 1.2 GB", TIMEOUT, async () => {
  const config = resolveConfig(PRESETS["reflow-1"]);
  const tokenizer = trainBpe([text(20_000)], 300);
  await writeCheckpoint(workspace.path("reflow-1"), (files) => {
    files.json("config.json", config);
    files.json("tokenizer.json", tokenizer.toJSON());
    const entries = int8Entries(config);
    const file = files.tensors("model.int8.safetensors", entries, { identity: "0".repeat(64) });
    for (const { name, dtype, shape } of entries) {
      const columns = shape.at(-1)!;
      const rows = elementsOf(shape) / columns;
      for (let row = 0; row < rows; row++) {
        // Uniform in ±127 with this scale: a standard deviation of 0.02.
        if (dtype === "I8")
          file.write(
            name,
            Int8Array.from({ length: columns }, () => Math.random() * 254 - 127),
          );
        else file.write(name, new Float32Array(columns).fill(name.endsWith(".scale") ? 2.7e-4 : 1));
      }
    }
  });
  const main = join(import.meta.dirname, "../../cli/main.ts");
  const runtime = [process.execPath, ...("Deno" in globalThis ? ["run", "-A"] : [])];
  const args = [
    "sample",
    workspace.path("reflow-1"),
    "--prompt",
    "the people",
    "--max-tokens",
    "8",
    "--json",
  ];
  const [command, ...rest] = [...runtime, main, ...args];
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  assertBelow(await peakOf(child), 1200 * MB, "reflow-1 in int8");
  assert.equal(JSON.parse(output).samples[0].ids.length, 8);
});
