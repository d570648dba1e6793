import { expect, test } from "bun:test";
import { resolveConfig } from "../../../runtime/config/config.ts";
import { Model } from "../../../runtime/model/model.ts";
import { initialize, initialValues } from "../../../runtime/transformer/parameters.ts";
import { ReferenceBackend } from "../../support/reference-backend.ts";
import { makeModel, onBackends, randomIds, randomValues, tinyConfig } from "./inference-support.ts";

onBackends((backend) => {
  test("tables hold the values that the model uses: after top-k, and decoded from f16 and int8", async () => {
    const config = tinyConfig("reflow-topk");
    const values = randomValues(config);
    const tables = await new Model(await makeModel(backend(), config)).tables();
    const recipe = values.get("recipe")!;
    for (let row = 0; row < 61; row++) {
      const kept = Array.from(recipe.subarray(20 * row, 20 * row + 20), (x) => Math.max(0, x));
      const least = [...kept].sort((a, b) => b - a)[3];
      const expected = kept.map((x) => (x >= least ? x : 0));
      expect(Array.from(tables.recipe.data.subarray(20 * row, 20 * row + 20))).toEqual(expected);
    }
    expect(tables.recipe.shape).toEqual([61, 20]);
    expect(tables.basis!.data).toEqual(values.get("basis")!);

    const twin = tinyConfig("gpt2-new");
    const embedding = randomValues(twin).get("embedding")!;
    for (const [type, tolerance] of [
      ["f16", 1e-3],
      ["i8", 2e-2],
    ] as const) {
      const { recipe, basis } = await new Model(await makeModel(backend(), twin, type)).tables();
      expect(basis).toBeUndefined();
      const off = recipe.data.reduce((most, x, i) => Math.max(most, Math.abs(x - embedding[i])), 0);
      expect(off).toBeLessThan(tolerance);
      expect(off).toBeGreaterThan(0);
    }
  });

  test("replaced recipes apply to input and output during one run, and padding rows stay", async () => {
    const config = tinyConfig("reflow");
    const values = randomValues(config);
    const model = new Model(await makeModel(backend(), config, "f32", values));
    const ids = randomIds(config, 12);
    const before = await model.forward(ids);
    const first = randomValues(config, 2)
      .get("recipe")!
      .subarray(0, 50 * 20);
    const whole = values.get("recipe")!.slice();
    whole.set(first);
    const other = new Model(await makeModel(backend(), config, "f32", new Map(values).set("recipe", whole)));
    expect((await model.withTable(first, () => model.forward(ids))).data).toEqual(
      (await other.forward(ids)).data,
    );
    expect((await model.forward(ids)).data).toEqual(before.data);

    const { allocated } = backend().memory();
    const failed = model.withTable(first, () => Promise.reject(new Error("half-way")));
    await expect(failed).rejects.toThrow("half-way");
    expect((await model.forward(ids)).data).toEqual(before.data);
    expect(backend().memory().allocated).toBe(allocated);
  });
});

test("initialValues equals initialize for each matrix and both kinds of basis", async () => {
  const backend = new ReferenceBackend();
  const config = resolveConfig(tinyConfig("reflow"), { vocab_size: 14000 }); // more than one chunk
  for (const basisInit of ["orthogonal", "normal"] as const) {
    const parameters = initialize(backend, config, { seed: 5, basisInit });
    for (const name of ["recipe", "basis", "blocks.1.attn.o.weight"]) {
      const values = initialValues(config, name, { seed: 5, basisInit });
      expect(values).toEqual((await backend.read(parameters[name])) as Float32Array);
    }
  }
});
