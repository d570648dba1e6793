/** Properties shared by all experiments that run forward passes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import type { Experiment, ExperimentContext } from "../../../runtime/experiments/framework/experiment.ts";
import { layers } from "../../../runtime/experiments/lens/layers.ts";
import { typo } from "../../../runtime/experiments/lens/typo.ts";
import { genes } from "../../../runtime/experiments/patching/genes.ts";
import { ablation } from "../../../runtime/experiments/signals/ablation.ts";
import { flow } from "../../../runtime/experiments/signals/flow-attribution.ts";
import { crystallization } from "../../../runtime/experiments/steering/crystallization-boundary.ts";
import { inception } from "../../../runtime/experiments/steering/inception-dose.ts";
import { steer } from "../../../runtime/experiments/steering/steer.ts";
import { contextWith } from "./planted-model.ts";

let backend: Backend;
let context: ExperimentContext;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  context = await contextWith(backend, { config: { n_layers: 2 } });
});
afterAll(() => backend.dispose());

const EXPERIMENTS: readonly Experiment[] = [
  typo,
  layers,
  flow,
  ablation,
  steer,
  inception,
  genes,
  crystallization,
];

describe.each(EXPERIMENTS)("$id", (experiment) => {
  test("is reproducible, reports its progress, and stops when cancelled", async () => {
    const fractions: number[] = [];
    const findings = await experiment.run({
      ...context,
      progress: async (fraction) => {
        if (fraction !== undefined) fractions.push(fraction);
      },
    });
    expect(fractions.length).toBeGreaterThan(3);
    for (const [i, fraction] of fractions.entries()) {
      expect(fraction).toBeGreaterThanOrEqual(fractions[i - 1] ?? 0);
      expect(fraction).toBeLessThanOrEqual(1);
    }
    const json = JSON.stringify(findings);
    expect(JSON.stringify(await experiment.run(context))).toBe(json);
    // JSON writes NaN and infinities as null.
    expect(json).not.toContain("null,");
    expect(findings.claims[0].null.draws).toBeGreaterThanOrEqual(440);

    let calls = 0;
    const progress = async () => {
      if (++calls > 5) throw new Error("enough");
    };
    await expect(experiment.run({ ...context, progress })).rejects.toThrow("enough");
  });
});

/** All experiments on four models take a busy machine longer than the default five seconds. */
const TIMEOUT = { timeout: 60_000 };

test("short contexts, learned positions and top-k models are supported", TIMEOUT, async () => {
  const configs = [
    { context: 4 },
    { context: 16 },
    { variant: "gpt2", n_signals: undefined },
    { variant: "reflow-topk", top_k: 2 },
  ] as const;
  for (const config of configs) {
    const other = await contextWith(backend, { config: { n_layers: 2, ...config } });
    for (const experiment of EXPERIMENTS) {
      if (experiment.inapplicable?.(other)) continue;
      const { claims, notes } = await experiment.run({ ...other, draws: { cheap: 20, forward: 20 } });
      expect(claims.length + notes.length).toBeGreaterThan(0);
    }
  }
});
