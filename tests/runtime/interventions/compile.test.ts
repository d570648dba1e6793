import { describe, expect, test } from "bun:test";
import type { Intervention } from "../../../runtime/interventions/spec.ts";
import { Model } from "../../../runtime/model/model.ts";
import type { Activation, Hook } from "../../../runtime/transformer/hooks.ts";
import { assertClose } from "../../support/compare.ts";
import { tinyTokenizer } from "../../support/tiny-checkpoint.ts";
import { makeModel, randomIds } from "../transformer/inference-support.ts";
import { combine, dot, generateAll, norm, SEA, type Setting, setUp, THE } from "./support.ts";

const close = (a: ArrayLike<number>, b: ArrayLike<number>, what: string) =>
  assertClose(a, b, { relative: 1e-5 }, what);

const setting = await setUp();
const { model, config } = setting;
const { d_model: d, n_signals: S, vocab_size: V } = config;
const ids = [0, 1].map((seed) => randomIds(config, 6, seed));

/** A hook that changes each row x in place, given its position and sequence. */
const byRow = (name: string, change: (x: Float32Array, position: number, sequence: number) => void): Hook => [
  name,
  ({ data, shape, positions, sequences, length }: Activation) => {
    const width = data.length / positions.length;
    expect(width).toBe(shape[2]);
    for (const [row, position] of positions.entries()) {
      change(data.subarray(row * width, (row + 1) * width), position, sequences[Math.floor(row / length)]);
    }
    return data;
  },
];

/** (the − sea)·B, computed from the parameters. */
const v = directionIn(setting, [1, THE], [-1, SEA]);
const u = v.map((x) => x / norm(v));
const target = { expression: "the - sea" };

function directionIn({ row, config }: Setting, ...terms: [number, number][]): number[] {
  const r = combine(...terms.map(([c, id]): [number, number[]] => [c, row("recipe", id)]));
  return combine(...r.slice(0, config.n_signals).map((c, s): [number, number[]] => [c, row("basis", s)]));
}

const push = (x: Float32Array, by: number, along: readonly number[]) => {
  for (let i = 0; i < x.length; i++) x[i] += by * along[i];
};

describe("an intervention equals a hand-written hook:", () => {
  const everywhere = { target, hook: "hook_resid_post", layers: [0, 1] } as const;
  const CASES: [string, Intervention, (x: Float32Array) => void][] = [
    ["add raw", { op: "add", ...everywhere, strength: 0.7 }, (x) => push(x, 0.7, v)],
    [
      "add residNorm",
      { op: "add", ...everywhere, strength: -0.4, unit: "residNorm" },
      (x) => push(x, -0.4 * norm(x), u),
    ],
    ["set", { op: "set", ...everywhere, value: 3 }, (x) => push(x, 3 - dot(x, u), u)],
    ["scale", { op: "scale", ...everywhere, factor: -1 }, (x) => push(x, -2 * dot(x, u), u)],
    ["ablate", { op: "ablate", ...everywhere }, (x) => push(x, -dot(x, u), u)],
    [
      "swap",
      { op: "swap", ...everywhere, with: { signal: 5 } },
      (x) => {
        const b = setting.row("basis", 5);
        const w = b.map((each) => each / norm(b));
        const by = (dot(x, u) - dot(x, w)) / (1 - dot(u, w));
        push(x, -by, u);
        push(x, by, w);
      },
    ],
  ];
  for (const [name, intervention, change] of CASES) {
    test(`${name}: forward, runWithHooks and runWithCache`, async () => {
      const hooks = [0, 1].map((l) => byRow(`blocks.${l}.hook_resid_post`, change));
      const expected = await model.runWithHooks(ids, { hooks });
      const interventions = [intervention];
      close((await model.runWithHooks(ids, { interventions })).data, expected.data, "runWithHooks");
      close((await model.forward(ids, { interventions })).data, expected.data, "forward");
      const cache = await model.runWithCache(ids, { interventions, namesFilter: "hook_logits" });
      close(cache.get("hook_logits")!.data, expected.data, "runWithCache");
      expect((await model.forward(ids)).data).not.toEqual(expected.data);
    });
  }

  test("layers restrict an intervention to their blocks", async () => {
    const residuals = async (layers: [number, number]) => {
      const interventions: Intervention[] = [
        { op: "add", target, hook: "hook_attn_out", layers, strength: 1 },
      ];
      return model.runWithCache(ids, { interventions });
    };
    const [first, second] = [await residuals([0, 0]), await residuals([1, 1])];
    const plain = await model.runWithCache(ids);
    expect(second.get("blocks.0.hook_resid_post")).toEqual(plain.get("blocks.0.hook_resid_post")!);
    const moved = plain.get("blocks.0.hook_attn_out")!.data.map((x, i) => x + v[i % d]);
    close(first.get("blocks.0.hook_attn_out")!.data, moved, "attn_out");
  });

  test("several interventions apply in order, before hooks", async () => {
    const set: Intervention = { op: "set", target, hook: "hook_embed", value: 2 };
    const double: Intervention = { op: "scale", target, hook: "hook_embed", factor: 2 };
    const components = async (interventions: Intervention[]) => {
      const seen: number[] = [];
      const look = byRow("hook_embed", (x) => void seen.push(dot(x, u)));
      await model.runWithHooks(ids, { interventions, hooks: [look] });
      return seen;
    };
    close(await components([set, double]), Array(12).fill(4), "set, then doubled");
    close(await components([double, set]), Array(12).fill(2), "doubled, then set");
  });
});

describe("spaces", () => {
  test("hook_signals: an amount added to a signal reaches the logits through the recipes", async () => {
    const plain = await model.forward(ids);
    const interventions: Intervention[] = [
      { op: "add", target: { signal: 3 }, hook: "hook_signals", strength: 1.5 },
    ];
    const expected = plain.data.map((x, i) => x + 1.5 * setting.values.get("recipe")![(i % V) * S! + 3]);
    close((await model.forward(ids, { interventions })).data, expected, "logits + 1.5·R[:,3]");
  });

  test("hook_recipe: an amount added to a recipe is written through the basis", async () => {
    const interventions: Intervention[] = [
      { op: "add", target: { token: " sea" }, hook: "hook_recipe", strength: 2 },
    ];
    const [plain, steered] = [
      await model.runWithCache(ids, { namesFilter: "hook_embed" }),
      await model.runWithCache(ids, { namesFilter: "hook_embed", interventions }),
    ];
    const written = directionIn(setting, [2, SEA]);
    const expected = plain.get("hook_embed")!.data.map((x, i) => x + written[i % d]);
    close(steered.get("hook_embed")!.data, expected, "e + 2·r·B");
  });

  test("hook_logits: only the logit of the target is biased", async () => {
    const plain = await model.forward(ids);
    const interventions: Intervention[] = [
      { op: "add", target: { token: " sea" }, hook: "hook_logits", strength: 5 },
    ];
    const expected = plain.data.map((x, i) => (i % V === SEA ? x + 5 : x));
    expect((await model.forward(ids, { interventions })).data).toEqual(expected);
  });

  test("gpt2 and gpt2-new: directions are embeddings", async () => {
    for (const variant of ["gpt2", "gpt2-new"] as const) {
      const other = await setUp(variant);
      const along = combine([1, other.row("embedding", THE)], [-1, other.row("embedding", SEA)]);
      const hooks = [byRow("blocks.1.hook_resid_mid", (x) => push(x, 0.5, along))];
      const expected = await other.model.runWithHooks(ids, { hooks });
      const interventions: Intervention[] = [
        { op: "add", target, hook: "blocks.1.hook_resid_mid", strength: 0.5 },
      ];
      close((await other.model.forward(ids, { interventions })).data, expected.data, variant);
    }
  });
});

describe("positions and conditions", () => {
  const changedRows = async (intervention: Partial<Intervention>, hook = "hook_embed") => {
    const rows: boolean[] = [];
    const plain = await model.runWithCache(ids, { namesFilter: hook });
    const interventions = [{ op: "add", target, hook, strength: 1, ...intervention } as Intervention];
    const steered = await model.runWithCache(ids, { namesFilter: hook, interventions });
    const [a, b] = [plain.get(hook)!.data, steered.get(hook)!.data];
    const width = a.length / 12;
    for (let row = 0; row < 12; row++) {
      const [x, y] = [a, b].map((data) => data.subarray(row * width, (row + 1) * width));
      rows.push(x.some((each, i) => each !== y[i]));
    }
    return rows.flatMap((is, row) => (is ? [row] : []));
  };

  test("positions count from the start of each sequence, and other rows keep their bits", async () => {
    expect(await changedRows({ positions: [1, 4] })).toEqual([1, 4, 7, 10]);
    expect((await changedRows({ positions: "prompt" })).length).toBe(12);
    expect((await changedRows({})).length).toBe(12);
  });

  test("when reads the signal at the same hook and position, before the op", async () => {
    const at = async (hook: string, read: (x: Float32Array) => number, gt: number) => {
      const cache = await model.runWithCache(ids, { namesFilter: hook });
      const { data } = cache.get(hook)!;
      const expected = Array.from({ length: 12 }, (_, row) => row).filter(
        (row) => read(data.subarray((row * data.length) / 12, ((row + 1) * data.length) / 12)) > gt,
      );
      expect(await changedRows({ when: { signal: 2, gt } }, hook)).toEqual(expected);
      const rest = Array.from({ length: 12 }, (_, row) => row).filter((row) => !expected.includes(row));
      expect(await changedRows({ when: { signal: 2, lt: gt } }, hook)).toEqual(rest);
      expect(expected.length).toBeGreaterThan(0);
      expect(rest.length).toBeGreaterThan(0);
    };
    await at("hook_signals", (x) => x[2], 0);
    const [weight, b] = [setting.values.get("final_norm.weight")!, setting.row("basis", 2)];
    const lens = (x: Float32Array) => {
      const rms = Math.sqrt(dot(x, x) / d + 1e-5);
      return x.reduce((sum, each, i) => sum + (each / rms) * weight[i] * b[i], 0);
    };
    await at("blocks.0.hook_resid_post", lens, 0.3);
    // The condition of the second intervention sees the effect of the first.
    const raise: Intervention = {
      op: "set",
      target: { signal: 2 },
      hook: "hook_signals",
      value: 50,
      positions: [3],
    };
    const bias = {
      op: "set",
      target: { signal: 4 },
      hook: "hook_signals",
      value: 9,
      when: { signal: 2, gt: 49 },
    } as const;
    const cache = await model.runWithCache(ids[0], {
      namesFilter: "hook_signals",
      interventions: [raise, bias],
    });
    const fours = Array.from({ length: 6 }, (_, t) => cache.get("hook_signals")!.data[t * S! + 4]);
    expect(fours.map((z) => z === 9)).toEqual([false, false, false, true, false, false]);
  });
});

describe("generation", () => {
  const prompts = [7, 1, 12].map((length, i) => randomIds(config, length, i));
  const sampling = { temperature: 0.8, topK: 20, seed: 5 };
  const reference = randomIds(config, 60, 9);
  const CASES: Intervention[][] = [
    [{ op: "add", target, hook: "hook_resid_post", layers: [0, 1], strength: 0.3, unit: "residNorm" }],
    [{ op: "set", target, hook: "hook_resid_pre", layers: [1, 1], positions: "generated", value: 4 }],
    [{ op: "scale", target: { signal: 4 }, hook: "hook_signals", positions: "prompt", factor: 3 }],
    [
      { op: "ablate", target, hook: "hook_mlp_out", layers: [0, 1], ablateWith: "resample" },
      { op: "add", target, hook: "hook_embed", strength: 2, unit: "sigma", when: { signal: 3, gt: 0 } },
      { op: "swap", target: { token: " the" }, with: { token: " sea" }, hook: "hook_logits" },
    ],
  ];
  for (const [i, interventions] of CASES.entries()) {
    test(`is the same with and without a cache, in a batch and alone (${i})`, async () => {
      const options = { ...sampling, interventions, reference };
      const batch = await generateAll(model, prompts, options);
      const plain = await generateAll(model, prompts, sampling);
      expect(batch.map(({ logprobs }) => logprobs)).not.toEqual(plain.map(({ logprobs }) => logprobs));
      const uncached = await generateAll(model, prompts, { ...options, cached: false });
      for (const [index, prompt] of prompts.entries()) {
        const [alone] = await generateAll(model, [prompt], options);
        for (const other of [alone, uncached[index]]) {
          expect(other.ids).toEqual(batch[index].ids);
          close(other.logprobs, batch[index].logprobs, `prompt ${index}`);
        }
      }
    });
  }

  test("prompt, generated and listed positions are counted per sequence", async () => {
    const lengths = [4, 2];
    const seen = async (positions: Intervention["positions"]) => {
      const rows: [number, number][] = [];
      const before = byRow("hook_embed", (x, position, sequence) => {
        if (Math.abs(dot(x, u) - 77) < 1e-3) rows.push([sequence, position]);
      });
      const interventions: Intervention[] = [{ op: "set", target, hook: "hook_embed", value: 77, positions }];
      const options = { maxTokens: 4, temperature: 0, interventions, hooks: [before] };
      const of = lengths.map((length, i) => randomIds(config, length, i));
      await generateAll(model, of, options);
      return rows.map(([sequence, position]) => `${sequence}:${position}`).sort();
    };
    expect(await seen("prompt")).toEqual(["0:0", "0:1", "0:2", "0:3", "1:0", "1:1"]);
    // The last token of a sequence is never run.
    expect(await seen("generated")).toEqual(["0:4", "0:5", "0:6", "1:2", "1:3", "1:4"]);
    expect(await seen([1, 3])).toEqual(["0:1", "0:3", "1:1", "1:3"]);
    expect((await seen("all")).length).toBe(12);
  });

  test("a long prompt runs in chunks without missing a row", async () => {
    const long = await setUp("reflow", { context: 300, n_layers: 1 });
    const prompt = randomIds(config, 290);
    const interventions: Intervention[] = [
      { op: "add", target, hook: "blocks.0.hook_resid_pre", strength: 1, positions: [0, 127, 128, 289] },
    ];
    const [{ logprobs }] = await generateAll(long.model, [prompt], {
      maxTokens: 1,
      temperature: 0,
      interventions,
    });
    const logits = (await long.model.runWithHooks(prompt, { interventions })).data.subarray(289 * V);
    const most = Math.max(...logits.subarray(0, 290));
    const lse = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
    expect(logprobs[0]).toBeCloseTo(-lse, 4);
  });

  test("a biased logit applies to every sampled token", async () => {
    const interventions: Intervention[] = [
      { op: "add", target: { token: " sea" }, hook: "hook_logits", strength: 1000 },
    ];
    const [{ ids }] = await generateAll(model, [[1, 2]], { maxTokens: 5, interventions });
    expect(ids).toEqual(Array(5).fill(SEA));
  });
});

test("a reference text is tokenised", async () => {
  const interventions: Intervention[] = [{ op: "ablate", target, hook: "hook_embed", ablateWith: "mean" }];
  const reference = "the sea was the sea and the people went";
  const text = await model.forward(ids, { interventions, reference });
  const same = await model.forward(ids, { interventions, reference: tinyTokenizer.encode(reference) });
  expect(text.data).toEqual(same.data);
});

test("WASM agrees with the reference backend, with and without a cache", async () => {
  const { createWasmBackend } = await import("../../../runtime/backend/wasm/mod.ts");
  const backend = await createWasmBackend({ threads: 1 });
  const wasm = new Model(await makeModel(backend, config, "f32", setting.values), tinyTokenizer);
  const interventions: Intervention[] = [
    {
      op: "add",
      target,
      hook: "hook_resid_post",
      layers: [0, 1],
      strength: 0.4,
      unit: "residNorm",
      positions: [1, 4],
    },
    { op: "scale", target: { signal: 4 }, hook: "hook_signals", factor: 2, positions: [3] },
  ];
  const byHand = await model.forward(ids, { interventions });
  assertClose((await wasm.forward(ids, { interventions })).data, byHand.data, { relative: 1e-4 }, "forward");
  const options = { maxTokens: 6, temperature: 0, interventions: interventions.slice(0, 1) };
  const [cached] = await generateAll(wasm, [ids[0]], options);
  const [uncached] = await generateAll(wasm, [ids[0]], { ...options, cached: false });
  expect(uncached.ids).toEqual(cached.ids);
  expect((await generateAll(model, [ids[0]], options))[0].ids).toEqual(cached.ids);
  wasm.dispose();
});
