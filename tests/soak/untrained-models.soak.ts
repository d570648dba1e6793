/** The experiment suite on untrained models, where every claim that holds is a false positive. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createBackend } from "../../runtime/backend/create.ts";
import { resolveConfig } from "../../runtime/config/config.ts";
import { runSuite } from "../../runtime/experiments/suite.ts";
import { HELD_OUT } from "../../runtime/formats/checkpoint-tensors.ts";
import { loadModel } from "../../runtime/mod.ts";
import { Model } from "../../runtime/model/model.ts";
import { initialize } from "../../runtime/transformer/parameters.ts";
import { prepareWeights } from "../../runtime/transformer/weights.ts";

const MODELS = 20;
const shipped = fileURLToPath(new URL("../../server/model", import.meta.url));

test(
  "at most 4 of 20 untrained models pass any claim",
  async () => {
    using trained = await loadModel(shipped, { device: "wasm" });
    const text = trained.tokenizer.encode(readFileSync(`${shipped}/${HELD_OUT}`, "utf8"), {
      allowSpecial: true,
    });
    const config = resolveConfig(trained.config, { n_layers: 3, d_model: 64, n_signals: 64, d_ff: 192 });
    const falsePositives: string[] = [];
    for (let seed = 1; seed <= MODELS; seed++) {
      const backend = await createBackend("wasm");
      const weights = await prepareWeights(backend, config, initialize(backend, config, { seed }));
      // Patches name the weights they apply to.
      const checkpoint = createHash("sha256").update(`${seed}`).digest("hex");
      using model = new Model({ backend, config, weights, checkpoint }, trained.tokenizer);
      const { certificate } = await runSuite({ model, initial: { seed }, text, seed, quick: true });
      const held = certificate.claims.filter(({ holds }) => holds).map(({ id }) => id);
      console.log(`model ${seed}: ${held.join(", ") || "none"} of ${certificate.claims.length} claims hold`);
      if (held.length > 0) falsePositives.push(`${seed}: ${held}`);
    }
    expect(falsePositives.length, falsePositives.join("; ")).toBeLessThanOrEqual(4);
  },
  { timeout: 3_600_000 },
);
