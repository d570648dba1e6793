import { describe, expect, test } from "bun:test";
import type { GenerateOptions } from "../../../runtime/generation/options.ts";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { expectError } from "../../support/expect-error.ts";
import { randomIds } from "../transformer/inference-support.ts";
import { generateAll, setUp } from "./support.ts";

const setting = await setUp();
const { model, config } = setting;
const ids = [0, 1].map((seed) => randomIds(config, 6, seed));

const target = { expression: "the - sea" };

describe("an intervention without effect", () => {
  const idle: Intervention[] = [
    { op: "add", target, hook: "hook_resid_post", layers: [0, 1], strength: 0, unit: "residNorm" },
    { op: "scale", target, hook: "hook_embed", factor: 1 },
    { op: "add", target: { token: " sea" }, hook: "hook_logits", strength: -0 },
  ];

  test("is bit-equal to none and reads no activations", async () => {
    const counted = await setUp();
    let reads = 0;
    const read = counted.backend.read.bind(counted.backend);
    const [prompt] = ids;
    const run = async (interventions?: Intervention[]) => {
      reads = 0;
      return generateAll(counted.model, [prompt], { maxTokens: 5, seed: 3, interventions });
    };
    Object.assign(counted.backend, {
      read: (...args: Parameters<typeof read>) => {
        reads++;
        return read(...args);
      },
    });
    const plain = await run();
    const plainReads = reads;
    expect(await run(idle)).toEqual(plain);
    // Two reads per direction, and none beyond the logits of the 5 tokens.
    expect(reads - plainReads).toBeLessThanOrEqual(2 * idle.length);
    expect((await counted.model.forward(ids, { interventions: idle })).data).toEqual(
      (await counted.model.forward(ids)).data,
    );
  });

  test("is still validated", async () => {
    const wrong: Intervention[] = [{ ...idle[0], layers: [0, 2] } as Intervention];
    await expectError(() => model.forward(ids, { interventions: wrong }), "usage", /layers is \[0,2\]/);
  });
});

describe("interventions that cannot be applied are rejected:", () => {
  const add = (more: Partial<Intervention>) =>
    [{ op: "add", target, hook: "hook_embed", strength: 1, ...more }] as Intervention[];
  const expectRejected = (interventions: Intervention[], message: RegExp, options: GenerateOptions = {}) =>
    expectError(
      () => generateAll(model, [ids[0]], { maxTokens: 4, ...options, interventions }),
      "usage",
      message,
    );

  test("positions that are never run", async () => {
    await expectRejected(
      add({ positions: [2, 24] }),
      /^interventions\[0\]\.positions\[1\] is 24: expected a position of the context/,
    );
    const error = await expectRejected(
      add({ positions: [9] }),
      /positions\[0\] is 9: expected a position that is run/,
    );
    expect(error.help).toBe("hook_embed runs at positions 0 to 8 of the sequence");
    await generateAll(model, [ids[0]], { maxTokens: 4, interventions: add({ positions: [8] }) });
    const sampled = add({ positions: [5, 8], hook: "hook_signals", target: { signal: 1 } });
    await generateAll(model, [ids[0]], { maxTokens: 4, interventions: sampled });
    await expectRejected(
      add({ positions: [2], hook: "hook_signals", target: { signal: 1 } }),
      /positions\[0\] is 2: expected a position that is run/,
    );
    await expectRejected(
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
      () => generateAll(model, [ids[0], [1]], { maxTokens: 3, interventions: add({ positions: [5] }) }),
      "usage",
      /positions\[0\] is 5/,
    );
    // If nothing is generated, no position can be missed.
    expect(
      await generateAll(model, [ids[0]], { maxTokens: 0, interventions: add({ positions: [9] }) }),
    ).toEqual([{ ids: [], logprobs: [] }]);
  });

  test("unknown hooks, signals and tokens, and conditions without signals", async () => {
    await expectRejected(add({ hook: "hook_embd" }), /^interventions\[0\]\.hook is "hook_embd"/);
    await expectRejected(add({ target: { signal: 20 } }), /^interventions\[0\]\.target\.signal is 20/);
    await expectRejected(
      add({ target: { token: " king" } }),
      /^interventions\[0\]\.target\.token: " king" is 2 tokens/,
    );
    await expectRejected(add({ when: { signal: 20, gt: 0 } }), /^interventions\[0\]\.when\.signal is 20/);
    await expectRejected(
      add({ hook: "hook_logits", when: { signal: 2, gt: 0 } }),
      /^interventions\[0\]\.when\.signal is 2: hook_logits has no signals/,
    );
    await expectRejected(
      [...add({}), { op: "swap", target, with: { signal: 99 }, hook: "hook_embed" }],
      /^interventions\[1\]\.with\.signal/,
    );
  });

  test("a missing, empty or invalid reference text", async () => {
    const error = await expectRejected(
      add({ unit: "sigma" } as Partial<Intervention>),
      /^interventions\[0\]\.unit is "sigma": expected a reference text/,
    );
    expect(error.help).toContain("reference");
    const mean: Intervention[] = [
      ...add({}),
      { op: "ablate", target, hook: "hook_embed", ablateWith: "mean" },
    ];
    await expectRejected(mean, /^interventions\[1\]\.ablateWith is "mean": expected a reference/);
    await expectRejected(mean, /the reference text is empty/, { reference: "" });
    await expectError(
      () => generateAll(model, [ids[0]], { interventions: mean, reference: [300] }),
      "data",
      /token id 300/,
    );
  });

  test("activations beyond the range of float32", async () => {
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
