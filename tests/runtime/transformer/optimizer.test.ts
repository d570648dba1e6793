import { describe, expect, test } from "bun:test";
import { AdamW } from "../../../runtime/transformer/optimizer.ts";
import { makeTrainable, randomTokens, trainableConfig } from "./trainable-support.ts";

describe("AdamW", () => {
  const { backend, parameters, model } = makeTrainable(trainableConfig("gpt2"), { batch: 1, length: 4 });
  const optimizer = new AdamW(backend, model.config, parameters, model.gradients);
  const batch = randomTokens(model.config, 4, "ids");

  test("weight decay applies only to matrices", () => {
    const before = (name: string) => backend.values(parameters[name])[0];
    const names = ["blocks.0.attn.q.weight", "position", "final_norm.weight", "blocks.0.mlp.up.bias"];
    const start = names.map(before);
    optimizer.step({ lr: 0.5, step: 1, weightDecay: 0.1 }); // zero gradients, so that only the decay acts
    expect(names.map(before)).toEqual([start[0] * 0.95, start[1] * 0.95, start[2], start[3]]);
  });

  test("a gradient norm that is not finite resets the gradients and changes nothing else", async () => {
    model.forwardBackward(batch, batch);
    backend.values(model.gradients.position)[2] = Number.NaN;
    const snapshot = () =>
      [parameters, optimizer.m, optimizer.v].map((x) => backend.values(x.embedding).slice());
    const start = snapshot();
    optimizer.step({ lr: 0.1, step: 2 });
    expect(await optimizer.gradientNorm()).toBeNaN();
    expect(snapshot()).toEqual(start);
    expect(backend.values(model.gradients.position).every((x) => x === 0)).toBe(true);
  });
});
