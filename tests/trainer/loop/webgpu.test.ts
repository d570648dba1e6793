/** Training on WebGPU is equivalent to training on WASM. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertClose } from "../../support/compare.ts";
import { noAdapter } from "../../support/webgpu.ts";
import { CPU, Workspace } from "../workspace.ts";

const TIMEOUT = { timeout: 300_000 };

describe(noAdapter ? `training on WebGPU: ${noAdapter}` : "training on WebGPU", {
  skip: Boolean(noAdapter),
}, () => {
  const workspace = new Workspace();
  const command = ["--config", "config.json", "--data", "text.txt", "--steps", "20", "--log-every", "1"];
  const losses = (run: string) => workspace.metrics(run).flatMap(({ loss, valLoss }) => loss ?? valLoss);

  test(
    "20 steps have the same losses as on WASM, on one rank and on two ranks that share an adapter",
    TIMEOUT,
    async () => {
      await workspace.run([...command, ...CPU, "--batch", "4", "--out", "wasm"]);
      const expected = losses("wasm");
      assert.ok(expected.length >= 21);
      for (const [run, share] of [
        ["webgpu", ["--batch", "4"]],
        ["ranks", ["--batch", "2", "--world", "2"]],
      ] as const) {
        const { stderr } = await workspace.run([...command, ...share, "--device", "webgpu:0", "--out", run]);
        assert.match(stderr, /^webgpu \(/m);
        for (const [i, loss] of losses(run).entries()) {
          assertClose([loss], [expected[i]], { relative: 1e-3 }, `${run}: line ${i}`);
        }
      }
    },
  );
});
