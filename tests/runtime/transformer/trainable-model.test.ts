import { describe, expect, test } from "bun:test";
import { resolveConfig, VARIANTS } from "../../../runtime/config/config.ts";
import { parameterCount } from "../../../runtime/config/parameter-specs.ts";
import { PRESETS } from "../../../runtime/config/presets.ts";
import { Random } from "../../../runtime/math/random.ts";
import { AdamW } from "../../../runtime/transformer/optimizer.ts";
import { activationBytes, trainingBytes } from "../../../runtime/transformer/trainable-model.ts";
import { assertClose } from "../../support/compare.ts";
import { makeTrainable, randomTokens, trainableConfig } from "./trainable-support.ts";

describe("gradients agree with finite differences", () => {
  test.each([...VARIANTS])("%s", async (variant) => {
    const config = trainableConfig(variant);
    // T = 5 in a context of 8, with repeated token ids.
    const shape = { batch: 2, length: 5 };
    const { backend, parameters, model } = makeTrainable(config, shape);
    const ids = randomTokens(config, 10, "ids").fill(3, 2, 5);
    const targets = randomTokens(config, 10, "targets");
    const loss = async () => {
      await model.evaluate(ids, targets);
      return backend.values(model.losses).reduce((sum, x) => sum + x, 0) / 10;
    };
    model.forwardBackward(ids, targets);

    const h = 1e-5;
    for (const [name, parameter] of Object.entries(parameters)) {
      const values = backend.values(parameter);
      const gradient = backend.values(model.gradients[name]);
      const start = values.slice();
      const random = new Random(name);
      for (let run = 0; run < 3; run++) {
        const direction = values.map(() => random.normal());
        const at = async (step: number) => {
          values.set(start.map((x, i) => x + step * direction[i]));
          return loss();
        };
        const slope = (await at(h)) - (await at(-h));
        values.set(start);
        const expected = gradient.reduce((sum, g, i) => sum + g * direction[i], 0);
        assertClose([slope / (2 * h)], [expected], { relative: 1e-6, absolute: 1e-8 }, name);
      }
    }
  });
});

// With 16,500 logits per row a chunk has 128 rows: 130 rows are split into chunks of 128 and 2.
test.each(["reflow", "gpt2-new"] as const)(
  "%s: a head in chunks equals a head in one piece",
  async (variant) => {
    const config = trainableConfig(variant, {
      vocab_size: 16_500,
      n_layers: 1,
      d_model: 2,
      n_heads: 1,
      context: 65,
    });
    const ids = randomTokens(config, 130, "ids");
    const targets = randomTokens(config, 130, "targets");
    const two = makeTrainable(config, { batch: 2, length: 65 });
    const one = makeTrainable(config, { batch: 1, length: 65 });
    two.model.forwardBackward(ids, targets);
    const logits = await two.model.logits();
    for (const b of [0, 1]) {
      const [from, to] = [b * 65, (b + 1) * 65];
      one.model.forwardBackward(ids.subarray(from, to), targets.subarray(from, to), { scale: 0.5 });
      assertClose(
        two.backend.values(two.model.losses).subarray(from, to),
        one.backend.values(one.model.losses),
        { relative: 1e-12 },
        "losses",
      );
      const part = logits.subarray(from * config.vocab_size, to * config.vocab_size);
      assertClose(part, await one.model.logits(), { relative: 1e-12 }, "logits");
    }
    for (const [name, gradient] of Object.entries(two.model.gradients)) {
      const expected = one.backend.values(one.model.gradients[name]);
      assertClose(two.backend.values(gradient), expected, { relative: 1e-10, absolute: 1e-14 }, name);
    }
  },
);

describe("memory", () => {
  test.each([...VARIANTS])("%s: the estimate equals the allocated bytes, which are freed", (variant) => {
    const config = trainableConfig(variant);
    const shape = { batch: 2, length: 7 };
    const { backend, model, parameters } = makeTrainable(config, shape);
    const weights = 4 * parameterCount(config);
    const allocated = () => backend.memory().allocated;
    expect(allocated()).toBe(2 * weights + activationBytes(config, shape));
    const optimizer = new AdamW(backend, config, parameters, model.gradients);
    expect(allocated()).toBe(trainingBytes(config, shape) + 4);
    model.forwardBackward(randomTokens(config, 14, "ids"), randomTokens(config, 14, "targets"));
    optimizer.step({ lr: 1e-3, step: 1 });
    expect(allocated()).toBe(trainingBytes(config, shape) + 4); // a step allocates nothing
    optimizer.dispose();
    model.dispose();
    expect(allocated()).toBe(weights);
  });

  test("nano at B 8, T 256 needs less than 270 MiB", () => {
    const nano = resolveConfig(PRESETS.nano);
    expect(activationBytes(nano, { batch: 8, length: 256 })).toBeLessThan(270 * 2 ** 20);
  });
});

describe("input", () => {
  const config = trainableConfig("reflow");
  const { model } = makeTrainable(config, { batch: 1, length: 4 });
  const good = Int32Array.of(0, 1, 2, 10);

  test.each([11, -1, 2 ** 30])("token %d is rejected before anything runs", (id) => {
    const bad = Int32Array.of(0, 1, id, 2);
    expect(() => model.forwardBackward(bad, good)).toThrow(
      `ids: token ${id} is outside the vocabulary of 11`,
    );
    expect(() => model.forwardBackward(good, bad)).toThrow(`targets: token ${id}`);
  });

  test("a batch of another size throws a RangeError", () => {
    expect(() => model.forwardBackward(good.subarray(1), good)).toThrow(RangeError);
  });
});
