/**
 * Loads the bundled model and streams a continuation of a prompt. The seed makes the text reproducible.
 *
 * Run: bun docs/examples/load-and-generate.ts ["PROMPT"]
 */
import { bundledModel, loadModel } from "reflow";

const [prompt = "Once upon a time"] = process.argv.slice(2);

using model = await loadModel(bundledModel());
process.stdout.write(prompt);
for await (const event of model.generate(prompt, { maxTokens: 40, temperature: 0.7, seed: 6 })) {
  process.stdout.write(event.text);
  if (event.type === "finish") process.stdout.write(`\n(finished: ${event.reason})\n`);
}
