import { expect, test } from "bun:test";
import { measure, momentsOf, type Probe } from "../../../runtime/interventions/reference.ts";
import { directionAlong } from "../../../runtime/math/direction.ts";
import { assertClose } from "../../support/compare.ts";
import { randomIds } from "../transformer/inference-support.ts";
import { setUp } from "./support.ts";

const probe = (hook: string, width: number, key = "a"): Probe => {
  const direction = directionAlong(Float64Array.from({ length: width }, (_, i) => Math.sin(i + 1)));
  return { hook, key, direction };
};

test("components equal those of the unmodified model on windows of the context, at every hook point", async () => {
  const { inner, model, config } = await setUp();
  const ids = randomIds(config, 2 * config.context + 5);
  const probes = [
    probe("hook_recipe", 20),
    probe("blocks.1.hook_resid_mid", 24),
    probe("ln_final.hook_normalized", 24),
    probe("hook_signals", 20),
    probe("hook_logits", 300),
  ];
  const components = await measure(inner, ids, probes);
  for (const each of probes) {
    const expected: number[] = [];
    for (let begin = 0; begin < ids.length; begin += config.context) {
      const window = ids.subarray(begin, begin + config.context);
      const { data } = (await model.runWithCache(window, { namesFilter: each.hook })).get(each.hook)!;
      const { indices, values } = each.direction;
      for (let row = 0; row < window.length; row++) {
        const x = data.subarray((row * data.length) / window.length);
        expected.push(values.reduce((sum, u, i) => sum + u * x[indices[i]], 0));
      }
    }
    assertClose(components(each), expected, { relative: 1e-5 }, each.hook);
  }
});

test("components are cached until the text or the table of the model changes", async () => {
  const { inner, model, backend, config } = await setUp();
  let passes = 0;
  const gather = backend.gather.bind(backend);
  Object.assign(backend, {
    gather: (...args: Parameters<typeof gather>) => {
      passes++;
      gather(...args);
    },
  });
  const ids = randomIds(config, 10);
  const [embed, post] = [probe("hook_embed", 24), probe("blocks.0.hook_resid_post", 24)];
  const first = (await measure(inner, ids, [embed, post, embed]))(embed);
  expect(passes).toBe(1);
  expect((await measure(inner, ids.slice(), [embed]))(embed)).toBe(first);
  expect(passes).toBe(1);
  await measure(inner, ids, [embed, probe("hook_embed", 24, "b")]);
  expect(passes).toBe(2);
  const other = await model.withTable(new Float32Array(300 * 20), async () => measure(inner, ids, [embed]));
  expect([...other(embed)]).toEqual(Array(10).fill(0));
  expect(passes).toBe(3);
  expect((await measure(inner, ids, [embed]))(embed)).toBe(first);
  expect(passes).toBe(3);
  expect((await measure(inner, randomIds(config, 10, 2), [embed]))(embed)).not.toEqual(first);
  expect(passes).toBe(4);
});

test("mean and deviation are those of the population", () => {
  expect(momentsOf(Float64Array.of(2, 4, 4, 4, 5, 5, 7, 9))).toEqual({ mean: 5, sd: 2 });
});

test("measuring can be cancelled", async () => {
  const { inner, config } = await setUp();
  const signal = AbortSignal.abort(new Error("enough"));
  expect(measure(inner, randomIds(config, 10), [probe("hook_embed", 24)], signal)).rejects.toThrow("enough");
});
