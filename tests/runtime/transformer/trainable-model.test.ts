import { describe, expect, test } from "bun:test";
import {
  type ModelConfig,
  type PartialConfig,
  resolveConfig,
  VARIANTS,
  type Variant,
} from "../../../runtime/config/config.ts";
import { parameterCount } from "../../../runtime/config/parameter-specs.ts";
import { PRESETS } from "../../../runtime/config/presets.ts";
import { Random } from "../../../runtime/math/random.ts";
import { AdamW } from "../../../runtime/transformer/optimizer.ts";
import { initialize } from "../../../runtime/transformer/parameters.ts";
import {
  activationBytes,
  TrainableModel,
  trainingBytes,
} from "../../../runtime/transformer/trainable-model.ts";
import { assertClose } from "../../support/compare.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";

const tiny = (variant: Variant, overrides: PartialConfig = {}): ModelConfig =>
  resolveConfig({
    variant,
    n_layers: 2,
    d_model: 8,
    n_heads: 2,
    d_ff: 10,
    context: 8,
    vocab_size: 11,
    ...(variant.startsWith("reflow") ? { n_signals: 6 } : {}),
    ...(variant === "reflow-topk" ? { top_k: 3 } : {}),
    ...overrides,
  });

/** A model whose weights are large enough for every nonlinearity to matter. */
function build(config: ModelConfig, shape: { batch: number; length: number }) {
  const backend = new ReferenceBackend();
  const parameters = initialize(backend, config, { seed: 7, basisInit: "normal" });
  for (const tensor of Object.values(parameters)) {
    const random = new Random(`${tensor.shape}`);
    const values = backend.values(tensor);
    for (let i = 0; i < values.length; i++) values[i] += 0.3 * random.normal();
  }
  return { backend, parameters, model: new TrainableModel(backend, config, parameters, shape) };
}

const tokens = (config: ModelConfig, count: number, key: string): Int32Array => {
  const random = new Random(key);
  return Int32Array.from({ length: count }, () => Math.floor(random.uniform() * config.vocab_size));
};

describe("gradients are those of finite differences", () => {
  test.each([...VARIANTS])("%s", async (variant) => {
    const config = tiny(variant);
    // T = 5 of a context of 8, and token ids that repeat.
    const shape = { batch: 2, length: 5 };
    const { backend, parameters, model } = build(config, shape);
    const ids = tokens(config, 10, "ids").fill(3, 2, 5);
    const targets = tokens(config, 10, "targets");
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

// 16,500 logits a row make chunks of 128 rows: 130 rows are two chunks, of 128 and of 2.
test.each(["reflow", "gpt2-new"] as const)("%s: a head in chunks is a head at once", async (variant) => {
  const config = tiny(variant, { vocab_size: 16_500, n_layers: 1, d_model: 2, n_heads: 1, context: 65 });
  const ids = tokens(config, 130, "ids");
  const targets = tokens(config, 130, "targets");
  const two = build(config, { batch: 2, length: 65 });
  const one = build(config, { batch: 1, length: 65 });
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
});

describe("memory", () => {
  test.each([...VARIANTS])("%s: bytes are known before they are allocated, and given back", (variant) => {
    const config = tiny(variant);
    const shape = { batch: 2, length: 7 };
    const { backend, model, parameters } = build(config, shape);
    const weights = 4 * parameterCount(config);
    const allocated = () => backend.memory().allocated;
    expect(allocated()).toBe(2 * weights + activationBytes(config, shape));
    const optimizer = new AdamW(backend, config, parameters, model.gradients);
    expect(allocated()).toBe(trainingBytes(config, shape) + 4);
    model.forwardBackward(tokens(config, 14, "ids"), tokens(config, 14, "targets"));
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
  const config = tiny("reflow");
  const { model } = build(config, { batch: 1, length: 4 });
  const good = Int32Array.of(0, 1, 2, 10);

  test.each([11, -1, 2 ** 30])("token %d is refused before anything runs", (id) => {
    const bad = Int32Array.of(0, 1, id, 2);
    expect(() => model.forwardBackward(bad, good)).toThrow(
      `ids: token ${id} is outside the vocabulary of 11`,
    );
    expect(() => model.forwardBackward(good, bad)).toThrow(`targets: token ${id}`);
  });

  test("a batch of another size is a bug", () => {
    expect(() => model.forwardBackward(good.subarray(1), good)).toThrow(RangeError);
  });
});

describe("AdamW", () => {
  const { backend, parameters, model } = build(tiny("gpt2"), { batch: 1, length: 4 });
  const optimizer = new AdamW(backend, model.config, parameters, model.gradients);
  const batch = tokens(model.config, 4, "ids");

  test("decays matrices only", () => {
    const before = (name: string) => backend.values(parameters[name])[0];
    const names = ["blocks.0.attn.q.weight", "position", "final_norm.weight", "blocks.0.mlp.up.bias"];
    const start = names.map(before);
    optimizer.step({ lr: 0.5, step: 1, weightDecay: 0.1 }); // with zero gradients: nothing but decay
    expect(names.map(before)).toEqual([start[0] * 0.95, start[1] * 0.95, start[2], start[3]]);
  });

  test("changes nothing but the gradients where their norm is not finite", async () => {
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
