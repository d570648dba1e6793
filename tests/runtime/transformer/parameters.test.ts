import { describe, expect, test } from "bun:test";
import { resolveConfig } from "../../../runtime/config/config.ts";
import { parameterSpecs } from "../../../runtime/config/parameter-specs.ts";
import { initialize } from "../../../runtime/transformer/parameters.ts";
import { length } from "../../support/compare.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";

const config = resolveConfig({
  variant: "reflow",
  n_layers: 2,
  d_model: 48,
  n_signals: 48,
  n_heads: 4,
  d_ff: 200,
  context: 16,
  vocab_size: 6000, // more than one chunk of values
});

function fresh(overrides: Partial<typeof config> = {}, seed = 1, basisInit?: "normal") {
  const backend = new ReferenceBackend();
  const whole = resolveConfig(config, overrides);
  const parameters = initialize(backend, whole, { seed, basisInit });
  return { backend, whole, values: (name: string) => backend.values(parameters[name]), parameters };
}

const rms = (x: Float64Array): number => length(x) / Math.sqrt(x.length);

describe("initialize", () => {
  test("standard deviations, ones and zeros match the specification", () => {
    for (const variant of ["reflow", "gpt2"] as const) {
      const { whole, values } = fresh({ variant, n_signals: undefined }, 3, "normal");
      for (const { name, init } of parameterSpecs(whole)) {
        if (init === "one") expect(values(name).every((x) => x === 1)).toBe(true);
        else if (init === "zero") expect(values(name).every((x) => x === 0)).toBe(true);
        else expect(rms(values(name)) / (init === "residual" ? 0.01 : 0.02)).toBeCloseTo(1, 1);
      }
      expect(rms(values(variant === "gpt2" ? "embedding" : "recipe"))).toBeCloseTo(0.02, 4);
    }
  });

  test("values are normal, and chunks do not repeat", () => {
    const recipe = fresh()
      .values("recipe")
      .map((x) => x / 0.02);
    const share = (within: number) => recipe.filter((x) => Math.abs(x) < within).length / recipe.length;
    expect(share(1)).toBeCloseTo(0.6827, 2);
    expect(share(2)).toBeCloseTo(0.9545, 2);
    expect(share(3)).toBeCloseTo(0.9973, 2);
    expect(recipe[0]).not.toBe(recipe[1 << 18]);
    // Adjacent values, and values one row apart, are uncorrelated.
    for (const lag of [1, 2, 48]) {
      const product = recipe.subarray(lag).reduce((sum, x, i) => sum + x * recipe[i], 0) / recipe.length;
      expect(Math.abs(product)).toBeLessThan(0.01);
    }
  });

  test("a tensor depends only on the seed and its name, not on other tensors", () => {
    const name = "blocks.1.attn.q.weight";
    const one = fresh().values(name);
    expect(fresh().values(name)).toEqual(one);
    expect(fresh({ n_layers: 3, vocab_size: 100 }).values(name)).toEqual(one);
    expect(fresh({}, 2).values(name)).not.toEqual(one);
    expect(fresh().values("blocks.0.attn.q.weight")).not.toEqual(one);
  });

  test.each([
    ["square", 48],
    ["tall", 100],
    ["wide", 20],
  ])("a %s basis is orthogonal, and E has the standard deviation 0.02", (_, S) => {
    for (const variant of ["reflow", "reflow-topk"] as const) {
      const { backend, values, whole, parameters } = fresh({ variant, n_signals: S, top_k: undefined });
      const d = whole.d_model;
      const basis = values("basis");
      // The Gram matrix of the shorter side is a multiple of the identity.
      const [n, inner] = [Math.min(S, d), Math.max(S, d)];
      const at = (i: number, k: number) => (S < d ? basis[i * d + k] : basis[k * d + i]);
      const gram = (i: number, j: number) => {
        let sum = 0;
        for (let k = 0; k < inner; k++) sum += at(i, k) * at(j, k);
        return sum;
      };
      const square = gram(0, 0);
      let worst = 0;
      for (let i = 0; i < n; i++) {
        for (let j = 0; j <= i; j++)
          worst = Math.max(worst, Math.abs(gram(i, j) / square - (i === j ? 1 : 0)));
      }
      expect(worst).toBeLessThan(1e-6);

      const recipe = backend.alloc([whole.vocab_size, S]);
      if (whole.top_k) backend.topk(recipe, parameters.recipe, whole.top_k);
      else backend.copy(recipe, parameters.recipe);
      const E = backend.alloc([whole.vocab_size, d]);
      backend.matmul(E, recipe, parameters.basis);
      expect(rms(backend.values(E)) / 0.02).toBeCloseTo(1, 1);
    }
  });

  test("a 1024 × 1024 basis takes at most seconds", () => {
    // CPU time of this process, because the machine may be busy.
    const start = process.cpuUsage();
    fresh({ d_model: 1024, n_signals: 1024, n_layers: 1, d_ff: 1, vocab_size: 1 });
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(5);
  });
});
