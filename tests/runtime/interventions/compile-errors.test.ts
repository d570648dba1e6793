import { describe, expect, test } from "bun:test";
import type { GenerateOptions } from "../../../runtime/generation/options.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { expectError } from "../../support/expect-error.ts";
import { randomIds } from "../transformer/inference-support.ts";
import { generated, setUp } from "./support.ts";

const setting = await setUp();
const { model, config } = setting;
const ids = [0, 1].map((seed) => randomIds(config, 6, seed));

const target = { expression: "the - sea" };

describe("what changes nothing", () => {
  const idle: Intervention[] = [
    { op: "add", target, hook: "hook_resid_post", layers: [0, 1], strength: 0, unit: "residNorm" },
    { op: "scale", target, hook: "hook_embed", factor: 1 },
    { op: "add", target: { token: " sea" }, hook: "hook_logits", strength: -0 },
  ];

  test("is bit-equal to none, and no activation is read for it", async () => {
    const fresh = await setUp();
    let reads = 0;
    const read = fresh.backend.read.bind(fresh.backend);
    const [prompt] = ids;
    const run = async (interventions?: Intervention[]) => {
      reads = 0;
      return generated(fresh.model, [prompt], { maxTokens: 5, seed: 3, interventions });
    };
    Object.assign(fresh.backend, {
      read: (...args: Parameters<typeof read>) => {
        reads++;
        return read(...args);
      },
    });
    const plain = await run();
    const plainReads = reads;
    expect(await run(idle)).toEqual(plain);
    // Two for each of the directions that are made, the logits of 5 tokens, and nothing else.
    expect(reads - plainReads).toBeLessThanOrEqual(2 * idle.length);
    expect((await fresh.model.forward(ids, { interventions: idle })).data).toEqual(
      (await fresh.model.forward(ids)).data,
    );
  });

  test("is checked all the same", async () => {
    const wrong: Intervention[] = [{ ...idle[0], layers: [0, 2] } as Intervention];
    await expectError(() => model.forward(ids, { interventions: wrong }), "usage", /layers is \[0,2\]/);
  });
});

describe("what can't be applied is an error", () => {
  const add = (more: Partial<Intervention>) =>
    [{ op: "add", target, hook: "hook_embed", strength: 1, ...more }] as Intervention[];
  const refused = (interventions: Intervention[], message: RegExp, options: GenerateOptions = {}) =>
    expectError(
      () => generated(model, [ids[0]], { maxTokens: 4, ...options, interventions }),
      "usage",
      message,
    );

  test("positions that are never run", async () => {
    await refused(
      add({ positions: [2, 24] }),
      /^interventions\[0\]\.positions\[1\] is 24: expected a position of the context/,
    );
    const error = await refused(
      add({ positions: [9] }),
      /positions\[0\] is 9: expected a position that is run/,
    );
    expect(error.help).toBe("of the sequence hook_embed sees positions 0 to 8");
    await generated(model, [ids[0]], { maxTokens: 4, interventions: add({ positions: [8] }) });
    const sampled = add({ positions: [5, 8], hook: "hook_signals", target: { signal: 1 } });
    await generated(model, [ids[0]], { maxTokens: 4, interventions: sampled });
    await refused(
      add({ positions: [2], hook: "hook_signals", target: { signal: 1 } }),
      /positions\[0\] is 2: expected a position that is run/,
    );
    await refused(
      add({ positions: "generated" }),
      /positions is "generated": expected a position that is run/,
      {
        maxTokens: 1,
      },
    );
    await expectError(
      () => model.forward(ids, { interventions: add({ positions: [6] }) }),
      "usage",
      /is 6: expected a position/,
    );
    await expectError(
      () => model.runWithCache(ids, { interventions: add({ positions: "generated" }) }),
      "usage",
      /"generated"/,
    );
    await expectError(
      () => generated(model, [ids[0], [1]], { maxTokens: 3, interventions: add({ positions: [5] }) }),
      "usage",
      /positions\[0\] is 5/,
    );
    // Where nothing is generated, nothing can be missed.
    expect(
      await generated(model, [ids[0]], { maxTokens: 0, interventions: add({ positions: [9] }) }),
    ).toEqual([{ ids: [], logprobs: [] }]);
  });

  test("hooks, signals, tokens and conditions that aren't there", async () => {
    await refused(add({ hook: "hook_embd" }), /^interventions\[0\]\.hook is "hook_embd"/);
    await refused(add({ target: { signal: 20 } }), /^interventions\[0\]\.target\.signal is 20/);
    await refused(
      add({ target: { token: " king" } }),
      /^interventions\[0\]\.target\.token: " king" is 2 tokens/,
    );
    await refused(add({ when: { signal: 20, gt: 0 } }), /^interventions\[0\]\.when\.signal is 20/);
    await refused(
      add({ hook: "hook_logits", when: { signal: 2, gt: 0 } }),
      /^interventions\[0\]\.when\.signal is 2: hook_logits has no signals/,
    );
    await refused(
      [...add({}), { op: "swap", target, with: { signal: 99 }, hook: "hook_embed" }],
      /^interventions\[1\]\.with\.signal/,
    );
  });

  test("a reference that isn't there", async () => {
    const error = await refused(
      add({ unit: "sigma" } as Partial<Intervention>),
      /^interventions\[0\]\.unit is "sigma": expected a reference text/,
    );
    expect(error.help).toContain("reference");
    const mean: Intervention[] = [
      ...add({}),
      { op: "ablate", target, hook: "hook_embed", ablateWith: "mean" },
    ];
    await refused(mean, /^interventions\[1\]\.ablateWith is "mean": expected a reference/);
    await refused(mean, /the reference text is empty/, { reference: "" });
    await expectError(
      () => generated(model, [ids[0]], { interventions: mean, reference: [300] }),
      "data",
      /token id 300/,
    );
  });

  test("what leaves float32's range", async () => {
    const interventions = Array(4).fill({
      op: "add",
      target,
      hook: "hook_embed",
      strength: 1e6,
      unit: "residNorm",
    });
    const before = setting.backend.memory().allocated;
    await expectError(
      () => model.forward(ids, { interventions }),
      "numerics",
      /^interventions\[2\] makes hook_embed at position 0 too large/,
    );
    expect(setting.backend.memory().allocated).toBe(before);
  });
});
