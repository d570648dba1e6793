/**
 * Trains a very small model on a very small text, then loads the checkpoint and generates from it. The text is learnt by
 * heart within seconds, which shows that training works and nothing else.
 *
 * Run: bun docs/examples/train-from-code.ts [FOLDER]
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadModel } from "reflow";
import { trainModel } from "reflow/trainer";

const [folder = mkdtempSync(join(tmpdir(), "reflow-"))] = process.argv.slice(2);
const text = join(folder, "text.txt");
const out = join(folder, "run");
writeFileSync(text, "The king spoke to the people. The people spoke to the king.\n".repeat(400));

await trainModel({
  data: text,
  out,
  device: "wasm",
  threads: 1,
  // Keys that are not given here come from the preset, by default `tiny`.
  model: { n_layers: 2, d_model: 32, n_signals: 32, n_heads: 4, d_ff: 64, context: 16, vocab_size: 280 },
  batch: 8,
  steps: 60,
  lr: 1e-2,
  evalEvery: 30,
});

// A run folder stands for its newest checkpoint.
using model = await loadModel(out, { device: "wasm", threads: 1 });
const prompt = "The king";
process.stdout.write(prompt);
for await (const event of model.generate(prompt, { maxTokens: 8, temperature: 0 })) {
  process.stdout.write(event.text);
}
process.stdout.write("\n");
