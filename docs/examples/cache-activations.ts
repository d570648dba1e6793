/**
 * Caches activations of a prompt, and describes the strongest signal at the last position by the tokens that use it most.
 *
 * Run: bun docs/examples/cache-activations.ts
 */
import { bundledModel, loadModel } from "reflow";

using model = await loadModel(bundledModel());
const cache = await model.runWithCache("Once upon a time there was a king", {
  namesFilter: (name) => name === "hook_signals" || name.endsWith("hook_resid_post"),
});
for (const [name, tensor] of cache) console.log(`${name} has shape [${tensor.shape.join(", ")}]`);

const signals = cache.get("hook_signals"); // (B,T,S)
if (!signals) throw new Error("hook_signals was not cached");
const last = Array.from(signals.slice(0, -1).data); // (S)
const strongest = last.reduce((best, value, s) => (Math.abs(value) > Math.abs(last[best]) ? s : best), 0);
const { most, least } = await model.signal(strongest, { count: 5 });
console.log(
  `Strongest signal at the last position: ${strongest}, value ${signals.at(0, -1, strongest).toFixed(2)}`,
);
console.log(`  tokens with most of it:  ${most.map(({ text }) => JSON.stringify(text)).join(" ")}`);
console.log(`  tokens with least of it: ${least.map(({ text }) => JSON.stringify(text)).join(" ")}`);
