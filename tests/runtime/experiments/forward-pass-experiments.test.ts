/** What all experiments that run the model have in common. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Backend } from "../../../runtime/backend/contract/backend.ts";
import { createWasmBackend } from "../../../runtime/backend/wasm/mod.ts";
import type { ProbeContext } from "../../../runtime/experiments/framework/experiment.ts";
import { genes } from "../../../runtime/experiments/patching/genes.ts";
import { ablation } from "../../../runtime/experiments/signals/ablation.ts";
import { flow } from "../../../runtime/experiments/signals/flow-attribution.ts";
import { crystallization } from "../../../runtime/experiments/steering/crystallization-boundary.ts";
import { inception } from "../../../runtime/experiments/steering/inception-dose.ts";
import { layers } from "../../../runtime/experiments/lens/layers.ts";
import { steer } from "../../../runtime/experiments/steering/steer.ts";
import { typo } from "../../../runtime/experiments/lens/typo.ts";
import { contextWith } from "./planted-model.ts";

let backend: Backend;
let context: ProbeContext;
beforeAll(async () => {
  backend = await createWasmBackend({ threads: 1 });
  context = await contextWith(backend, { config: { n_layers: 2 } });
});
afterAll(() => backend.dispose());

describe.each([typo, layers, flow, ablation, steer, inception, genes, crystallization])("$id", (probe) => {
  test("gives the same findings again, says how far it is, and stops when told to", async () => {
    const shares: number[] = [];
    const findings = await probe.run({
      ...context,
      progress: async (share) => {
        if (share !== undefined) shares.push(share);
      },
    });
    expect(shares.length).toBeGreaterThan(3);
    for (const [i, share] of shares.entries()) {
      expect(share).toBeGreaterThanOrEqual(shares[i - 1] ?? 0);
      expect(share).toBeLessThanOrEqual(1);
    }
    const json = JSON.stringify(findings);
    expect(JSON.stringify(await probe.run(context))).toBe(json);
    // JSON has null for what is no number.
    expect(json).not.toContain("null,");
    expect(findings.claims[0].null.draws).toBeGreaterThanOrEqual(440);

    let calls = 0;
    const progress = async () => {
      if (++calls > 5) throw new Error("enough");
    };
    await expect(probe.run({ ...context, progress })).rejects.toThrow("enough");
  });
});

/** All experiments on four models take a busy machine longer than the usual five seconds. */
const TIMEOUT = { timeout: 60_000 };

test("a context of few tokens, gpt2's positions and a top-k are read too", TIMEOUT, async () => {
  const configs = [
    { context: 4 },
    { context: 16 },
    { variant: "gpt2", n_signals: undefined },
    { variant: "reflow-topk", top_k: 2 },
  ] as const;
  for (const config of configs) {
    const other = await contextWith(backend, { config: { n_layers: 2, ...config } });
    for (const probe of [typo, layers, flow, ablation, steer, inception, genes, crystallization]) {
      if (probe.inapplicable?.(other)) continue;
      const { claims, notes } = await probe.run({ ...other, draws: { cheap: 20, forward: 20 } });
      expect(claims.length + notes.length).toBeGreaterThan(0);
    }
  }
});
